"""Pointing at rows and cells by id and by name."""

from __future__ import annotations

from typing import Any

import pytest
from toy_folder import AXES

from fusionkit.errors import ConfigError
from fusionkit.grid.lookup import find_row, label


def row(id_: str, views: str, fusion: str, smoother: str = "none", folds: int = 1, **axes: str) -> dict[str, Any]:
    cells = [
        {"id": f"{index}{fold}{id_[2:]}", "heads": {}, "seed": seed, "fold": f"fold{fold}"}
        for index, seed in enumerate((0, 3))
        for fold in range(folds)
    ]
    own = {**AXES, "views": views, "fusion": fusion, "smoother": smoother, **axes}
    return {"id": id_, "axes": own, "random_weights": [], "cells": cells}


GRID = {
    "rows": [
        row("aaaa11112222", "face", "linear"),
        row("aaaa33334444", "face,eye,mouth", "concat:width=8"),
        row("bbbb33334444", "face,eye,mouth", "mlp:file=a/b.pt"),
        row("cccc33334444", "face,nose", "mlp", "window:width=5"),
        row("face00000000", "face,nose", "mlp"),
        row("dddd33334444", "face,keep:eye+mouth", "gated"),
    ]
}


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        ("face/linear/none", "aaaa11112222"),
        (" face/linear/none ", "aaaa11112222"),
        ("face,eye,mouth/concat:width=8/none", "aaaa33334444"),
        ("face,eye,mouth/mlp:file=a/b.pt/none", "bbbb33334444"),
        ("face,eye,mouth/concat:width=8", "aaaa33334444"),
        ("concat:width=8/none", "aaaa33334444"),
        ("linear", "aaaa11112222"),
        ("face", "aaaa11112222"),
        ("gated", "dddd33334444"),
        ("window:width=5", "cccc33334444"),
        # auxiliary views in any order, or alone
        ("face,mouth,eye/concat:width=8", "aaaa33334444"),
        ("mouth,eye/concat:width=8/none", "aaaa33334444"),
        ("keep:eye+mouth", "dddd33334444"),
        # without options
        ("concat", "aaaa33334444"),
        ("eye,mouth/mlp", "bbbb33334444"),
        ("face,nose/mlp/window", "cccc33334444"),
        ("window", "cccc33334444"),
        # ids
        ("aaaa11112222", "aaaa11112222"),
        ("aaaa1", "aaaa11112222"),
        ("bbbb", "bbbb33334444"),
        ("face0", "face00000000"),
    ],
)
def test_a_row_is_found_by_what_fits_it_alone(text: str, id_: str) -> None:
    found = find_row(GRID, text)
    assert found.entry["id"] == id_
    assert (found.seed, found.fold, found.cell) == (None, None, None)


@pytest.mark.parametrize(
    "text", ["face/linear/none/3", "linear/none/3", "face,eye,mouth/concat/none/3", "10aa11112222", "10aa11"]
)
def test_a_cell_is_found_by_its_seed_or_its_id(text: str) -> None:
    found = find_row(GRID, text)
    assert found.seed == 3
    assert found.name.endswith("/none/3")
    assert (found.fold == "fold0") == text.startswith("10")


def test_a_name_goes_before_an_id_that_starts_the_same() -> None:
    assert find_row(GRID, "face").entry["id"] == "aaaa11112222"


def test_exact_options_go_before_none() -> None:
    grid = {"rows": [row("aaaa11112222", "face", "mlp"), row("bbbb11112222", "face", "mlp:hidden=8")]}
    assert find_row(grid, "face/mlp").entry["id"] == "aaaa11112222"
    assert find_row(grid, "mlp:hidden=8").entry["id"] == "bbbb11112222"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "eye,mouth",
            r"'eye,mouth' .* several rows: face,eye,mouth/concat:width=8/none \(aaaa333\); face,eye,mouth/mlp:file=",
        ),
        (
            "aaaa",
            r"'aaaa' .* several rows: face/linear/none \(aaaa111\); face,eye,mouth/concat:width=8/none \(aaaa333\)",
        ),
        (
            "face/linear/non",
            r"no row matches 'face/linear/non' \(did you mean 'face/linear/none' .*\?\); available rows: face/",
        ),
        ("face/linear/none/7", "no row matches 'face/linear/none/7'"),
        ("eye/concat", "no row matches 'eye/concat'"),
        ("aaa", "no row matches 'aaa'"),
        ("AAAA1", "no row matches 'AAAA1'"),
        ("", "no row matches ''"),
        ("3", "no row matches '3'"),
    ],
)
def test_what_fits_none_or_several_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        find_row(GRID, text)
    assert len(caught.value.problems) == 1
    assert caught.value.hint.startswith("an id, or views/fusion/smoother")


def test_where_a_context_varies_the_candidates_say_how() -> None:
    grid = {
        "rows": [
            row("aaaa11112222", "face", "linear", backbone="hog"),
            row("bbbb11112222", "face", "linear", backbone="timm:model=vit"),
        ]
    }
    message = (
        r"matches several rows: face/linear/none \(aaaa111, backbone hog\); "
        r"face/linear/none \(bbbb111, backbone timm:model=vit\)"
    )
    with pytest.raises(ConfigError, match=message):
        find_row(grid, "face/linear/none")
    a, b = find_row(grid, "aaaa"), find_row(grid, "bbbb")
    assert label(a, b) == "face/linear/none (backbone hog)"
    assert label(b, a) == "face/linear/none (backbone timm:model=vit)"


def test_many_candidates_are_counted_and_not_all_listed() -> None:
    grid = {"rows": [row(f"{index:04d}11112222", f"face,v{index}", "mlp") for index in range(20)]}
    for text in ("mlp", "none at all"):
        with pytest.raises(ConfigError, match=r"face,v7/mlp/none.* and 12 more"):
            find_row(grid, text)


def test_without_a_main_view_no_view_may_be_left_out() -> None:
    grid = {"rows": [row("aaaa11112222", "eye,mouth", "mlp", main="none")]}
    assert find_row(grid, "mouth,eye/mlp").entry["id"] == "aaaa11112222"
    with pytest.raises(ConfigError, match="no row matches 'mouth/mlp'"):
        find_row(grid, "mouth/mlp")


def test_of_several_folds_a_cell_says_which() -> None:
    grid = {"rows": [row("aaaa11112222", "face", "linear", folds=2)]}
    assert find_row(grid, "01aa1111").name == "face/linear/none/0 fold1"
    assert find_row(grid, "linear/none/0").name == "face/linear/none/0"
