"""Rows and data sets are named by the settings in which they differ."""

from __future__ import annotations

import pytest
from toy_folder import AXES

from fusionkit.grid.axes import Axes
from fusionkit.report.row_names import RowNames, dataset_names


def axes(**given: str) -> Axes:
    return Axes(**{**AXES, **given})


def test_a_row_is_named_by_the_axes_that_vary() -> None:
    first, second = axes(views="face,eye", fusion="mlp"), axes(views="face,eye", fusion="concat", dataset="other")
    names = RowNames([first, second])
    assert names(first) == "toy / mlp"
    assert names(second, without="dataset") == "concat"
    assert names.data(second) == "other"
    assert RowNames([first])(first) == "face,eye/mlp/none"


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["fer2013:part=private"], ["fer2013"]),
        (["folder:root=/home/me/faces"], ["folder faces"]),
        (["fer2013:root=/data/fer2013"], ["fer2013"]),
        (
            ["synthetic:seed=1,train=9", "synthetic:seed=2,train=9", "toy"],
            ["synthetic:seed=1", "synthetic:seed=2", "toy"],
        ),
        (["synthetic", "synthetic:seed=2"], ["synthetic", "synthetic:seed=2"]),
        (["no <spec>"], ["no <spec>"]),
    ],
)
def test_data_sets_have_short_names(texts: list[str], names: list[str]) -> None:
    assert list(dataset_names(texts).values()) == names
