"""Checks of every smoother, and tests of this one."""

from collections.abc import Callable

import numpy as np

from example_third_party.smoother import ExampleWindow
from fusionkit.registry import SMOOTHERS
from fusionkit.testing import parametrize_checks


@parametrize_checks(ExampleWindow)
def test_contract(check: Callable[[], None]) -> None:
    check()


def test_it_is_registered() -> None:
    assert SMOOTHERS.get("example-window") is ExampleWindow


def test_weights_of_neighbours_and_of_frames_beyond_a_gap() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    smoothed = ExampleWindow(width=3)(x, np.array([1, 2, 9]))
    np.testing.assert_allclose(smoothed, [[2 / 3, 1 / 3], [1 / 3, 2 / 3], [0.0, 1.0]])
