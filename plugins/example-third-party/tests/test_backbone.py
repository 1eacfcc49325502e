"""Checks of every backbone, and tests of this one."""

from collections.abc import Callable

import numpy as np

from example_third_party.backbone import ExampleMoments
from fusionkit.registry import BACKBONES
from fusionkit.testing import parametrize_checks


@parametrize_checks(ExampleMoments)
def test_contract(check: Callable[[], None]) -> None:
    check()


def test_it_is_registered() -> None:
    assert BACKBONES.get("example-moments") is ExampleMoments


def test_mean_and_deviation_of_a_half_red_view() -> None:
    view = np.zeros((1, 8, 8, 3), np.uint8)
    view[0, :4, :, 0] = 255
    np.testing.assert_allclose(ExampleMoments(grid=1)(view), [[0.5, 0.5, 0.0, 0.0, 0.0, 0.0]])
