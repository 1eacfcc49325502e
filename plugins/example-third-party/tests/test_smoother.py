"""Checks of every smoother, and tests of this one."""

import numpy as np

from example_third_party.smoother import ExampleWindow
from fusionkit.registry import SMOOTHERS
from fusionkit.testing import parametrize_checks


@parametrize_checks(ExampleWindow)
def test_contract(check):
    check()


def test_it_is_registered():
    assert SMOOTHERS.get("example-window") is ExampleWindow


def test_weights_of_neighbours_and_of_frames_beyond_a_gap():
    x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    smoothed = ExampleWindow(width=3)(x, np.array([1, 2, 9]))
    np.testing.assert_allclose(smoothed, [[2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1]])
