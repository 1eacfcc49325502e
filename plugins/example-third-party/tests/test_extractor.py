"""Checks of every extractor, and tests of this one."""

from collections.abc import Callable

import numpy as np

from example_third_party.extractor import ExampleParts
from fusionkit.registry import EXTRACTORS
from fusionkit.testing import parametrize_checks


@parametrize_checks(ExampleParts)
def test_contract(check: Callable[[], None]) -> None:
    check()


def test_it_is_registered() -> None:
    assert EXTRACTORS.get("example-parts") is ExampleParts


def test_the_parts_meet_at_the_cut() -> None:
    boxes = ExampleParts(cut=0.25)([np.zeros((40, 20, 3), np.uint8)]).boxes
    np.testing.assert_allclose(boxes[0], [[10, 5, 20, 10, 0], [10, 25, 20, 30, 0]])
