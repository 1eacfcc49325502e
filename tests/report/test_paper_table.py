"""The table for papers and scripts: marks by the tests, text escaped, numbers as in results.csv."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from drawn_counts import drawn
from toy_folder import Toy, write_folder

from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.numbers import share_with_interval, signed_with_interval
from fusionkit.report.paper_table import paper_table
from fusionkit.report.run import Results
from fusionkit.report.significance import row_significance
from fusionkit_tasks.valence_arousal import ValenceArousal


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return write_folder(
        tmp_path,
        [
            Toy({"fusion": "linear"}, drawn(0.2, seeds=3, draw=1), id="0reference"),
            Toy({"fusion": "a_b&c"}, drawn(0.6, seeds=3, draw=2), reference="0reference"),
            Toy({"fusion": "x|y"}, drawn(0.6, seeds=3, draw=3), reference="0reference"),
            Toy({"fusion": "late"}, [None], reference="0reference", failure="no memory"),
        ],
    )


def test_latex_marks_the_best_row_and_the_rows_tied_with_it(results: Results) -> None:
    text = paper_table(results, "latex")
    lines = {line.split(" & ")[1]: line for line in text.splitlines() if line.endswith(r"\\") and "&" in line}
    rows = {row.axes.fusion: row for row in results.rows}
    assert list(lines) == ["fusion", "linear", r"a\_b\&c", r"x\textbar{}y", "late"]
    marks = row_significance(results)
    for fusion, written in (("a_b&c", r"a\_b\&c"), ("x|y", r"x\textbar{}y"), ("linear", "linear")):
        row = rows[fusion]
        assert row.score
        value = share_with_interval(row.score)
        expected = {"best": rf"\textbf{{{value}}}", "tied": value + r"$^{\dagger}$", "behind": value}[marks[row.id]]
        assert f" & {expected} & " in lines[written]
        if row.delta:
            assert signed_with_interval(row.delta) in lines[written]


def test_latex_sets_a_minus_and_names_data_sets_shortly(tmp_path: Path) -> None:
    toys = [
        Toy({"dataset": dataset, "fusion": fusion}, drawn(skill), id=f"{dataset}{fusion}", reference=f"{dataset}linear")
        for dataset in ("folder:root=/data/faces", "other")
        for fusion, skill in (("linear", 0.7), ("m-l-p", 0.2))
    ]
    results = write_folder(tmp_path, toys)
    delta = results.rows[1].delta
    assert delta
    assert delta.high < 0
    expected = signed_with_interval(delta).replace("-", "$-$")
    assert "  folder faces & face & m-l-p & none & " in paper_table(results, "latex")
    assert f" & {expected} & " in paper_table(results, "latex")


def test_latex_frames_the_table(results: Results) -> None:
    text, marks = paper_table(results, "latex"), row_significance(results)
    lines = {line.split(" & ")[1]: line for line in text.splitlines() if line.endswith(r"\\") and "&" in line}
    assert sorted(marks.values()) == ["behind", "best", "tied"]
    assert lines["late"].endswith(r"failed &  &  \\")
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"p is at most .05" in text


def test_latex_of_classes_has_the_f1_of_each(results: Results) -> None:
    text = paper_table(results, "latex-classes")
    lines = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if "&" in line]
    assert lines[0][-4:] == ["class0", "class1", "class2", "macro-F1"]
    for row, line in zip(results.rows, lines[1:], strict=True):
        if row.score:
            assert line[-4:-1] == [f"{each.value:.3f}".removeprefix("0") for each in row.parts.values()]
            assert f"{row.score.value:.3f}".removeprefix("0") in line[-1]
        else:
            assert line[-4:] == ["-", "-", "-", "failed"]


def test_the_caption_of_classes_names_the_parts_of_every_task(results: Results) -> None:
    assert "F1 of each class over pooled frames" in paper_table(results, "latex-classes")
    results.rows[1] = replace(results.rows[1], task=ValenceArousal(["valence", "arousal"]))
    assert "F1 of each class and CCC of each dimension over pooled frames" in paper_table(results, "latex-classes")


def test_markdown_has_as_many_cells_in_every_line(results: Results) -> None:
    table = [line for line in paper_table(results, "markdown").splitlines() if line.startswith("|")]
    assert len(table) == 2 + 4
    assert {line.replace(r"\|", "").count("|") for line in table} == {7}
    assert sum("**" in line for line in table) == 1
    assert sum("†" in line for line in table) == 1


def test_csv_is_results_csv(results: Results) -> None:
    write_csv_files(results)
    assert paper_table(results, "csv") == (results.folder.path / "results.csv").read_text(encoding="utf-8")


def test_json_holds_rows_and_sentences_without_nan(results: Results) -> None:
    found = json.loads(paper_table(results, "json"), parse_constant=pytest.fail)
    assert [row["fusion"] for row in found["rows"]] == ["linear", "a_b&c", "x|y", "late"]
    assert found["rows"][0]["p"] is None
    assert found["rows"][1]["macro_f1"] == results.rows[1].score.value  # type: ignore[union-attr]
    assert found["answer"][0].startswith("face/")
