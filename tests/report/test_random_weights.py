"""A backbone with random weights is marked in every table, warned of once, and never best without that word."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from rich.console import Console
from toy_components import Colours, carry_out, registered, toy_house, toy_plan  # noqa: F401
from toy_folder import Toy, write_folder

from fusionkit.grid.folder import RunFolder
from fusionkit.grid.provenance import grid_provenance
from fusionkit.grid.run import RunOptions
from fusionkit.registry import BACKBONES
from fusionkit.report.answer import answer
from fusionkit.report.charts.gallery import figures
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.page.provenance import origins
from fusionkit.report.page.write import write_report
from fusionkit.report.paper_table import paper_table
from fusionkit.report.plan_lines import plan_lines
from fusionkit.report.ranks import ranks_table
from fusionkit.report.run import Results
from fusionkit.report.table import results_table, warnings
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import EmbeddingStore

WARNING = "random weights"


class Drawn(Colours):
    """Colours that stand for random weights."""

    random_weights = True
    mean = (0.5, 0.25, 0.125)
    calls: ClassVar[list[int]] = []

    def notes(self) -> tuple[str, ...]:
        return ("w.pth: prefix 'module.' of names is removed",)


@pytest.fixture
def drawn(toy_house: None) -> Iterator[None]:  # noqa: F811
    with registered(BACKBONES, "toy-drawn", Drawn):
        yield


def counts(right: int) -> np.ndarray:
    """(U, 2, 2): of 10 frames of each class, this many are right."""
    return np.tile(np.array([[right, 10 - right], [10 - right, right]]), (30, 1, 1))


def folder(path: Path, drawn_right: int, trained_right: int) -> Results:
    backbones = {"timm:model=resnet18": (drawn_right, ["timm:model=resnet18"]), "hog": (trained_right, [])}
    return write_folder(
        path,
        [
            Toy({"backbone": name}, [counts(right), counts(right)], random_weights=marked)
            for name, (right, marked) in backbones.items()
        ],
    )


def terminal(results: Results) -> str:
    out = Console(width=200)
    with out.capture() as capture:
        out.print(results_table(results))
    return capture.get()


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_tables_and_files_mark_the_row_and_warn_once(tmp_path: Path) -> None:
    results = folder(tmp_path, 9, 6)
    write_csv_files(results)
    head, first, second = terminal(results).splitlines()
    assert head.split()[-1] == "weights"
    assert first.split()[-1] == "random"
    assert "random" not in second
    assert [line for line in warnings(results) if WARNING in line] == [
        "1 row(s) use random weights, as a control: timm:model=resnet18"
    ]
    for name in ("results.csv", "cells.csv"):
        assert list(dict.fromkeys(row["weights"] for row in read(tmp_path / name))) == ["random", ""]


@pytest.mark.parametrize("form", ["latex", "markdown", "csv", "json"])
def test_table_for_a_paper_marks_the_row(tmp_path: Path, form: str) -> None:
    assert "random" in paper_table(folder(tmp_path / "marked", 9, 6), form)
    assert "random" not in paper_table(write_folder(tmp_path / "plain", [Toy({}, [counts(9)])]), form).lower()


def test_random_weights_are_never_best_in_the_answer_without_that_word(tmp_path: Path) -> None:
    won = answer(folder(tmp_path / "won", 9, 6))
    assert won.headline.startswith("face/linear/none (random weights) has the highest macro-F1")
    assert won.findings[0].text().startswith("timm:model=resnet18 (random weights) beats hog by ")
    lost = answer(folder(tmp_path / "lost", 6, 9))
    assert WARNING not in lost.headline
    assert lost.findings[0].text().startswith("hog beats timm:model=resnet18 (random weights) by ")


def test_a_single_row_with_random_weights_is_marked_in_the_answer(tmp_path: Path) -> None:
    results = write_folder(tmp_path, [Toy({}, [counts(9)], random_weights=["hog"])])
    assert answer(results).headline.startswith("face/linear/none (random weights) has a macro-F1 of")


def test_a_comparison_marks_the_row(tmp_path: Path) -> None:
    results = folder(tmp_path, 9, 6)
    found = results.compare(*(row.id for row in results.rows))
    name = "face/linear/none (backbone {})"
    assert found.names == (name.format("timm:model=resnet18") + " (random weights)", name.format("hog"))


def test_ranks_mark_the_row(tmp_path: Path) -> None:
    rows = [
        Toy({"backbone": name, "dataset": dataset}, [counts(right)], random_weights=marked)
        for dataset in ("one", "two")
        for name, right, marked in (("random-features", 9, ["random-features"]), ("hog", 6, []))
    ]
    out = Console(width=120)
    with out.capture() as capture:
        out.print(ranks_table(write_folder(tmp_path, rows)))
    lines = [line.split() for line in capture.get().splitlines()]
    assert ["random-features", "face", "linear", "none", "random", "1.00"] in lines
    assert ["hog", "face", "linear", "none", "2.00"] in lines


def test_figures_mark_the_row(tmp_path: Path) -> None:
    drawn = [each for _, found in figures(folder(tmp_path, 9, 6)) for each in found]
    scores = next(each for each in drawn if each.name == "scores")
    assert [row[0] for row in scores.rows] == ["timm:model=resnet18 (random weights)", "hog"]
    titles = [each.title for each in drawn if each.title.startswith("Confusion of ")]
    assert titles[0] == "Confusion of face/linear/none (random weights)"


@pytest.mark.slow
def test_page_marks_the_row(tmp_path: Path) -> None:
    page = write_report(folder(tmp_path / "marked", 9, 6)).read_text(encoding="utf-8")
    assert ">weights</th>" in page
    assert ">random</td>" in page
    assert "use random weights, as a control" in page
    assert ">weights</th>" not in write_report(write_folder(tmp_path / "plain", [Toy({}, [counts(9)])])).read_text(
        encoding="utf-8"
    )


def test_plan_and_run_folder_know_random_weights_and_the_preparation_of_views(tmp_path: Path, drawn: None) -> None:
    plan = toy_plan(backbones=["toy-drawn", "toy-colours"], seeds=1)
    lines = list(plan_lines(plan, RunFolder(tmp_path / "run"), EmbeddingStore(cache_folder()), RunOptions()))
    assert [line for line in lines if line.startswith("note: ")] == [
        "note: w.pth: prefix 'module.' of names is removed"
    ]
    assert [line for line in lines if WARNING in line] == [
        "warning: 2 row(s) use random weights, as a control: toy-drawn"
    ]
    _, results = carry_out(plan, tmp_path / "run")
    assert [row.random_backbones for row in results.rows] == [["toy-drawn"], ["toy-drawn"], [], []]
    provenance = grid_provenance(plan, RunOptions())
    found = {each["component"]: each for each in provenance["preparation"]}
    assert found["toy-colours"]["random_weights"] is False
    assert found["toy-drawn"] == {
        "component": "toy-drawn",
        "size": [8, 8],
        "mean": [0.5, 0.25, 0.125],
        "std": [1.0, 1.0, 1.0],
        "interpolation": "linear",
        "random_weights": True,
        "notes": ["w.pth: prefix 'module.' of names is removed"],
    }
    (origin,) = origins({"grids": [{"description": {"name": "toy"}, "provenance": provenance}]})
    assert (
        "toy-drawn: 8 x 8 px, linear interpolation, mean [0.5, 0.25, 0.125], std [1.0, 1.0, 1.0], random weights"
        in origin.weights
    )
