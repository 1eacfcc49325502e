"""How a clip moves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit_synthetic.action import COLUMN, UNITS
from fusionkit_synthetic.identity import draw_identity
from fusionkit_synthetic.motion import draw_actions, draw_habit, draw_poses, wander
from fusionkit_synthetic.script import Episode, Script

WHO = draw_identity(np.random.default_rng(0))


def clip(*episodes, length=30):
    return Script(length, episodes, np.zeros(length, np.int64), np.ones(length, bool))


@given(seed=st.integers(0, 2**32), length=st.integers(1, 80), pace=st.floats(1.5, 12))
def test_a_walk_is_smooth(seed, length, pace):
    path = wander(np.random.default_rng(seed), length, pace)
    assert path.shape == (length,)
    # between two knots an ease of slope 1.5 at most, and knots are normal
    assert np.abs(np.diff(path)).max(initial=0) <= 1.5 / min(pace, 1e9) * 12


def test_an_expression_fades_in_and_out():
    script = clip(Episode(4, 12, 18, 5, 5))
    smile = np.mean(
        [
            draw_actions(np.random.default_rng(seed), WHO, script, np.zeros(len(UNITS)), 0.0)[:, :, COLUMN[12]].mean(1)
            for seed in range(20)
        ],
        axis=0,
    )
    assert smile[15] > 0.6
    assert max(smile[0], smile[-1]) < 0.1
    assert (np.diff(smile[7:13]) > 0).all()
    assert (np.diff(smile[18:23]) < 0).all()


@given(seed=st.integers(0, 2**32), label=st.integers(1, 7), blur=st.floats(0, 1))
def test_actions_stay_in_range(seed, label, blur):
    rng = np.random.default_rng(seed)
    values = draw_actions(rng, WHO, clip(Episode(label, 5, 20, 4, 4)), draw_habit(rng, blur), blur)
    assert values.shape == (30, 2, len(UNITS))
    assert values.min() >= 0
    assert values.max() <= 1


def test_blinks_are_short_and_rare():
    lids = np.concatenate(
        [
            draw_actions(np.random.default_rng(seed), WHO, clip(), np.zeros(len(UNITS)), 0.0)[:, 0, COLUMN[43]]
            for seed in range(100)
        ]
    )
    assert (lids > 0.9).mean() == pytest.approx(0.04, abs=0.012)


def test_poses_grow_with_unrest_and_jitter_from_frame_to_frame():
    calm, wild = (draw_poses(np.random.default_rng(2), 400, unrest) for unrest in (0.3, 1.3))
    assert np.std([pose.turn for pose in wild]) > 2 * np.std([pose.turn for pose in calm])
    shift = np.array([pose.shift[0] for pose in wild])
    yaw = np.array([pose.yaw for pose in wild])

    def restless(path):
        return np.diff(path).std() / path.std()

    assert restless(shift) > 2 * restless(yaw)
