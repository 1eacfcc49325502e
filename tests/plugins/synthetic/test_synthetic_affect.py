"""Action units, valence and arousal of the synthetic faces."""

import math

import numpy as np
import pytest
from scipy.optimize import nnls

from fusionkit_synthetic.action import UNITS, actions
from fusionkit_synthetic.affect import valence_arousal
from fusionkit_synthetic.cast import _clip
from fusionkit_synthetic.expression import CLASSES, PROTOTYPES
from fusionkit_synthetic.synthetic import Synthetic

SMALL = Synthetic.examples[0]
ANGLES = {"Happiness": 22.5, "Surprise": 90, "Fear": 112.5, "Anger": 135, "Disgust": 157.5, "Sadness": 202.5}


def by_scipy(face: np.ndarray) -> tuple[float, float]:
    """Valence and arousal of one frame (A,), one expression after the other."""
    columns = [[np.prod(PROTOTYPES[name].get(unit, (0, 0))) for name in ANGLES] for unit in UNITS]
    weights, _ = nnls(np.array(columns), face)
    weights = weights / max(1, sum(weights))
    angles = [math.radians(angle) for angle in ANGLES.values()]
    return sum(weights * np.cos(angles)), sum(weights * np.sin(angles))


def test_valence_and_arousal_are_those_of_non_negative_least_squares():
    faces = np.random.default_rng(0).beta(0.4, 1.0, (60, 2, len(UNITS)))
    np.testing.assert_allclose(valence_arousal(faces), [by_scipy(face.mean(0)) for face in faces], atol=1e-9)


@pytest.mark.parametrize("name", ANGLES)
def test_half_an_expression_is_half_way_to_its_place(name):
    half = actions({unit: 0.5 * mean * chance for unit, (mean, chance) in PROTOTYPES[name].items()})
    angle = math.radians(ANGLES[name])
    np.testing.assert_allclose(
        valence_arousal(half[None]), [[0.5 * math.cos(angle), 0.5 * math.sin(angle)]], atol=1e-12
    )
    assert (valence_arousal(np.zeros((1, 2, len(UNITS)))) == 0).all()


def test_action_units_are_those_that_are_drawn():
    data = Synthetic(**SMALL)
    table, found = data.table(), data.task_labels("action-units")
    assert found.names[:3] == ("AU1", "AU2", "AU4")
    assert found.names[-1] == "AU43"
    drawn = np.concatenate([_clip(data._cast, clip).actions for clip in range(len(data._cast.scripts))])
    for row in range(len(table)):
        active = [float(max(sides) >= 0.3) for sides in drawn[row].T]
        np.testing.assert_array_equal(found.values[row], active if table.label[row] >= 0 else [np.nan] * len(UNITS))
    assert (np.nanmean(found.values, 0) > 0).sum() > 15


def test_valence_and_arousal_follow_the_expression():
    data = Synthetic(train=10, val=8, test=8, clips=4)
    label, found = data.table().label, data.task_labels("valence-arousal")
    assert found.names == ("valence", "arousal")
    np.testing.assert_array_equal(np.isnan(found.values).any(1), label < 0)
    mean = {name: found.values[label == number].mean(0) for number, name in enumerate(CLASSES)}
    assert np.abs(mean["Neutral"]).max() < 0.15
    assert mean["Happiness"][0] > 0.4
    assert max(mean[name][0] for name in ("Anger", "Disgust", "Sadness")) < -0.4
    assert min(mean[name][1] for name in ("Surprise", "Fear")) > 0.5


def test_a_face_without_speech_and_blinks_has_the_valence_of_its_image():
    data = Synthetic(**SMALL, difficulty=0.0)
    drawn = np.concatenate([_clip(data._cast, clip).actions for clip in range(len(data._cast.scripts))])
    found = data.task_labels("valence-arousal").values
    still = (drawn[:, :, UNITS.index(43)] < 0.4).all(1) & (drawn[:, :, UNITS.index(18)] == 0).all(1)
    rows = np.flatnonzero(still & ~np.isnan(found[:, 0]))[::7]
    expected = [by_scipy(drawn[row].mean(0)) for row in rows]
    close = np.isclose(found[rows], expected, atol=1e-5).all(1)
    assert close.mean() > 0.9  # speech may open the mouth without rounding it


def test_with_an_interaction_there_are_expressions_only():
    data = Synthetic(**Synthetic.examples[1])
    assert data.task_labels("action-units") is None
    assert data.task_labels("valence-arousal") is None
    assert data.task_labels("expression").names == ("zero", "one")
