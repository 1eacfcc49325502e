"""Average ranks over data sets or folds, by hand and on run folders that hold all scores or some."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from toy_folder import Toy, write_folder

from fusionkit.report.ranks import ranks, ranks_table
from fusionkit.report.run import Results

UNITS = 4


def counts_of(right: int, seeds: int = 1) -> np.ndarray:
    """Counts (S, U, 2, 2) with ``right`` of 10 frames of each class right: more right is a higher macro-F1."""
    matrix = np.array([[right, 10 - right], [10 - right, right]])
    return np.broadcast_to(matrix, (seeds, UNITS, 2, 2))


def on(dataset: str, fusion: str, right: int, **axes: str) -> Toy:
    return Toy({"dataset": dataset, "fusion": fusion, **axes}, counts_of(right))


def by_fold(fusion: str, right: tuple[int, ...], seeds: int = 1) -> Toy:
    """One unit a fold, with that many frames right."""
    counts = np.concatenate([counts_of(each, seeds)[:, :1] for each in right], axis=1)
    return Toy({"split": "kfold:k=3", "fusion": fusion}, counts, folds=[f"kfold/{fold}" for fold in range(len(right))])


def named(results: Results) -> dict[str, float]:
    found = ranks(results)
    assert found is not None
    return {axes.fusion: rank for axes, rank in found.rows}


def printed(results: Results) -> str:
    table = ranks_table(results)
    assert table is not None
    text = io.StringIO()
    Console(width=120, file=text).print(table)
    return text.getvalue()


def test_ranks_over_data_sets_on_a_worked_example(tmp_path: Path) -> None:
    # Three rows on four data sets; on the last the first two are equal and share ranks 1 and 2.
    right = {"concat": (9, 6, 8, 5), "mlp": (8, 7, 6, 5), "mean": (7, 5, 7, 4)}
    rows = [on(f"d{d}", fusion, values[d]) for d in range(4) for fusion, values in right.items()]
    results = write_folder(tmp_path, rows)
    assert named(results) == {"concat": 5.5 / 4, "mlp": 7.5 / 4, "mean": 11 / 4}
    found = ranks(results)
    assert found is not None
    assert (found.over, found.blocks, found.left_out) == ("data sets", 4, 0)
    assert [axes.fusion for axes, _ in found.rows] == ["concat", "mlp", "mean"]


def test_ranks_over_folds_are_of_the_scores_on_each_fold_over_seeds(tmp_path: Path) -> None:
    # On the first fold both are equal, on the second mlp is better, on the third too.
    results = write_folder(tmp_path, [by_fold("concat", (7, 6, 5), seeds=2), by_fold("mlp", (7, 8, 9), seeds=2)])
    found = ranks(results)
    assert found is not None
    assert (found.over, found.blocks) == ("folds", 3)
    assert named(results) == {"concat": pytest.approx(5.5 / 3), "mlp": pytest.approx(3.5 / 3)}


def test_a_seed_with_an_unfinished_fold_is_not_ranked(tmp_path: Path) -> None:
    # With its second seed concat is the better one on both folds.
    right = {"concat": ((6, 6), (9, 9)), "mlp": ((7, 7), (5, 5))}
    rows = [by_fold(fusion, first) for fusion, (first, _) in right.items()]
    for toy, (_, second) in zip(rows, right.values(), strict=True):
        toy.counts = np.concatenate([toy.counts, by_fold("", second).counts])
    results = write_folder(tmp_path, rows)
    assert named(results) == {"concat": 1.0, "mlp": 2.0}
    for entry in results.grid["rows"]:
        (last,) = [cell["id"] for cell in entry["cells"] if (cell["seed"], cell["fold"]) == (1, "kfold/1")]
        results.folder.remove_cell(last)
    assert named(Results(results.folder)) == {"mlp": 1.0, "concat": 2.0}


def test_with_several_data_sets_the_folds_of_each_are_one_trial(tmp_path: Path) -> None:
    rows = [by_fold("concat", (9, 5, 5)), by_fold("mlp", (5, 6, 9))]
    other = [by_fold("concat", (5, 5, 5)), by_fold("mlp", (6, 6, 6))]
    for toy in other:
        toy.axes["dataset"] = "other"
    found = ranks(write_folder(tmp_path, [*rows, *other]))
    assert found is not None
    assert (found.over, found.blocks) == ("data sets", 2)
    assert [(axes.fusion, rank) for axes, rank in found.rows] == [("mlp", 1.0), ("concat", 2.0)]


def test_a_row_that_lacks_a_data_set_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = [on(d, fusion, right) for d in ("a", "b") for fusion, right in (("concat", 7), ("mlp", 8))]
    rows += [on("a", "mean", 9), Toy({"dataset": "b", "fusion": "mean"}, [None], failure="broke")]
    results = write_folder(tmp_path, rows)
    assert named(results) == {"mlp": 1.0, "concat": 2.0}
    assert "1 row(s) without a score on all of them are left out" in printed(results)


def test_one_data_set_without_folds_or_one_row_alone_has_no_ranks(tmp_path: Path) -> None:
    assert ranks_table(write_folder(tmp_path / "1", [on("a", "concat", 7), on("a", "mlp", 8)])) is None
    assert ranks_table(write_folder(tmp_path / "2", [on("a", "concat", 7), on("b", "concat", 8)])) is None


def test_the_table_explains_a_rank_that_disagrees_with_macro_f1(tmp_path: Path) -> None:
    right = {"concat": (6, 6, 2), "mlp": (5, 5, 9)}
    rows = [on(f"d{d}", fusion, values[d]) for d in range(3) for fusion, values in right.items()]
    text = " ".join(printed(write_folder(tmp_path / "a", rows)).split())
    assert "face/mlp/none has the highest macro-F1 of one data set" in text
    agreeing = write_folder(tmp_path / "b", [on(f"d{d}", f, 9 - (f == "mlp")) for d in range(2) for f in right])
    assert "has the highest" not in printed(agreeing)


def test_the_table_shows_what_varies_with_the_best_row_first(tmp_path: Path) -> None:
    rows = [
        on(dataset, "concat", right, backbone=backbone)
        for dataset in ("a", "b", "c")
        for backbone, right in (("hog", 6), ("timm", 8))
    ]
    title, header, first, second, *_ = printed(write_folder(tmp_path, rows)).splitlines()
    assert title.startswith("Average rank over 3 data sets, by macro-F1")
    assert header.split() == ["backbone", "views", "fusion", "smoother", "rank"]
    assert first.split() == ["timm", "face", "concat", "none", "1.00"]
    assert second.split() == ["hog", "face", "concat", "none", "2.00"]
