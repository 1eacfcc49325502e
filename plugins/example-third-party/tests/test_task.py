"""Checks of every task, and tests of this one."""

from collections.abc import Callable

import numpy as np

from example_third_party.task import ExampleIntensity
from fusionkit.registry import TASKS
from fusionkit.testing import parametrize_checks


@parametrize_checks(ExampleIntensity)
def test_contract(check: Callable[[], None]) -> None:
    check()


def test_it_is_registered() -> None:
    assert TASKS.get("example-intensity") is ExampleIntensity


def test_scores_are_those_of_labelled_frames() -> None:
    values = np.array([[0.0, 1.0], [1.0, np.nan], [0.5, 0.5]])
    predictions = np.array([[0.3, 0.8], [0.6, 0.1], [0.5, 0.5]])
    counts = ExampleIntensity(["smile", "frown"]).counts(values, predictions, np.zeros(3, np.int64), 1)
    expected = [1 - np.sqrt((0.3**2 + 0.4**2) / 3), 1 - np.sqrt(0.2**2 / 2)]
    np.testing.assert_allclose(ExampleIntensity(["smile", "frown"]).scores(counts[0]), expected)
