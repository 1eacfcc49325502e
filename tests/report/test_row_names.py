"""Rows and data sets are named by the settings in which they differ."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from toy_folder import AXES

from fusionkit.grid.axes import Axes
from fusionkit.report.row_names import RowNames, dataset_names


def axes(**given: str) -> Axes:
    return Axes(**{**AXES, **given})


def rows(*axes_of_rows: Axes, random: str = "") -> RowNames:
    """Names of rows; those of one backbone have random weights."""
    return RowNames(
        SimpleNamespace(axes=each, random_backbones=[random] * (each.backbone == random)) for each in axes_of_rows
    )


def test_a_row_is_named_by_the_axes_that_vary() -> None:
    first, second = axes(views="face,eye", fusion="mlp"), axes(views="face,eye", fusion="concat", dataset="other")
    names = rows(first, second)
    assert names(first) == "toy / mlp"
    assert names(second, without="dataset") == "concat"
    assert names.data(second) == "other"
    assert rows(first)(first) == "face,eye/mlp/none"


def test_a_name_marks_random_weights() -> None:
    drawn, trained = axes(backbone="random-features", fusion="mlp"), axes(fusion="mlp")
    names = rows(drawn, trained, random="random-features")
    assert (names(drawn), names(trained)) == ("random-features (random weights)", "hog")
    elsewhere = replace(drawn, dataset="", smoother="median")
    assert names(elsewhere, without="backbone") == "face/mlp/median (random weights)"
    assert (names.is_random(drawn), names.is_random(trained)) == (True, False)


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
