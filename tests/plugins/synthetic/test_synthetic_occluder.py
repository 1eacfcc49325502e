"""What hides which part of a face."""

import numpy as np
import pytest

from fusionkit_synthetic.action import Pose, actions
from fusionkit_synthetic.canvas import MARGIN, SCALE
from fusionkit_synthetic.face import Face
from fusionkit_synthetic.identity import draw_identity
from fusionkit_synthetic.occluder import KINDS, Occluder, draw_occluder, draw_occlusion

WHO = draw_identity(np.random.default_rng(11))
BARE = Face(WHO).draw(actions({}), Pose())


def covered(kind, reach=1.0):
    """Where a thing hides the face, as a map in face px."""
    image = BARE.copy()
    draw_occlusion(image, WHO, Occluder(kind, 1, np.array([reach]), np.zeros((1, 2)), (220, 220, 220)), 0, Pose())
    hidden = (image != BARE).any(2)[MARGIN * SCALE : -MARGIN * SCALE, MARGIN * SCALE : -MARGIN * SCALE]
    return hidden.reshape(112, SCALE, 112, SCALE).mean((1, 3))


EYES, MOUTH = np.s_[48:56, 31:81], np.s_[88:98, 44:68]


@pytest.mark.parametrize(
    ("kind", "most", "least"), [("mask", MOUTH, EYES), ("sunglasses", EYES, MOUTH), ("hand", MOUTH, EYES)]
)
def test_a_thing_hides_the_region_it_should_and_no_other(kind, most, least):
    hidden = covered(kind)
    assert hidden[most].mean() > 0.7
    assert hidden[least].mean() == 0


def test_a_strand_hides_one_eye_and_a_microphone_part_of_the_mouth():
    strand = covered("strand")
    assert strand[48:56, 67:80].mean() > 0.6
    assert strand[48:56, 31:45].mean() == 0
    assert 0.1 < covered("microphone")[MOUTH].mean() < 0.9


@pytest.mark.parametrize("kind", ["hand", "microphone"])
def test_what_is_away_hides_nothing_and_on_its_way_less(kind):
    assert covered(kind, 0.0).max() == 0
    assert covered(kind, 0.4)[MOUTH].mean() < covered(kind)[MOUTH].mean()


def test_how_often_something_is_in_the_way_grows_with_difficulty():
    def share(difficulty):
        drawn = [draw_occluder(np.random.default_rng(seed), WHO, 16, difficulty) for seed in range(600)]
        assert {occluder.kind for occluder in drawn} <= {*KINDS, ""}
        return np.mean([occluder.kind != "" for occluder in drawn])

    assert share(0.0) == 0
    assert share(0.5) == pytest.approx(0.15, abs=0.05)
    assert share(1.0) == pytest.approx(0.3, abs=0.06)
