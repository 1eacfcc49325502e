"""Data frames hold what the CSV files and the page show; a notebook and a terminal show the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_components import carry_out, toy_house, toy_plan  # noqa: F401

from fusionkit.errors import ConfigError
from fusionkit.report.charts.classes import class_figures
from fusionkit.report.csv_files import write_csv_files
from fusionkit.report.run import Results

pytestmark = pytest.mark.usefixtures("toy_house")


@pytest.fixture
def results(tmp_path: Path, toy_house: None) -> Results:  # noqa: F811
    _, found = carry_out(toy_plan(datasets=["toy-blobs:noise=70.0"]), tmp_path / "run")
    write_csv_files(found)
    return found


@pytest.mark.parametrize(("table", "file"), [("rows", "results"), ("cells", "cells"), ("costs", "costs")])
def test_a_frame_equals_the_csv_file(results: Results, table: str, file: str) -> None:
    frame = results.to_frame(table)  # type: ignore[arg-type]
    written = pd.read_csv(results.folder.path / f"{file}.csv")
    assert list(frame.columns) == list(written.columns)
    assert len(frame) == len(written) > 1
    for name in frame.columns:
        if pd.api.types.is_numeric_dtype(written[name]):
            mine = pd.to_numeric(frame[name]).to_numpy(np.float64)
            np.testing.assert_allclose(mine, written[name].to_numpy(np.float64), rtol=1e-5, err_msg=name)
        else:
            assert frame[name].fillna("").tolist() == written[name].fillna("").tolist(), name


def test_the_frame_of_classes_holds_the_f1_of_the_csv_file(results: Results) -> None:
    written = pd.read_csv(results.folder.path / "results.csv").set_index("id")
    frame = results.to_frame("classes")
    names = [name.removeprefix("predicted_") for name in written.columns if name.startswith("predicted_")]
    assert len(frame) == len(written) * len(names) > 4
    for each in frame.to_dict("records"):
        row, name = written.loc[each["id"]], each["class"]
        assert (each["views"], each["fusion"]) == (row["views"], row["fusion"])
        for mine, column in [("f1", f"f1_{name}"), ("f1_lo", f"f1_{name}_lo"), ("predicted", f"predicted_{name}")]:
            np.testing.assert_allclose(each[mine], row[column], rtol=1e-5)
    assert frame.groupby("id")["n_frames"].sum().tolist() == written["n_frames"].tolist()


def test_the_frame_of_confusion_holds_the_matrices_of_the_page(results: Results) -> None:
    frame = results.to_frame("confusion").set_index("id")
    drawn = [figure for figure in class_figures(results) if figure.name.startswith("confusion")]
    best = sorted(results.rows, key=lambda row: -row.score.value if row.score else 0.0)
    for figure, row in zip(drawn, best, strict=True):
        own = frame.loc[row.id]
        shares = own.pivot(index="truth", columns="prediction", values="share")
        for truth, *texts, _ in figure.rows:
            names = [name.removeprefix("predicted ") for name in figure.columns[1:-1]]
            assert [f"{shares.loc[truth, name]:.3f}".removeprefix("0") for name in names] == texts
        # Independently: seeds one by one, from the counts of the units.
        stored = results.stored[row.id]
        counts = [sum(unit for unit in stored.counts[seed]) for seed in stored.seeds]
        mean = np.array([[np.mean([each[i, j] for each in counts]) for j in range(3)] for i in range(3)])
        np.testing.assert_allclose(own["n_frames"].to_numpy().reshape(3, 3), mean)
        np.testing.assert_allclose(own.groupby("truth")["share"].sum(), 1.0)


def test_a_table_that_does_not_exist_is_refused(results: Results) -> None:
    with pytest.raises(ConfigError, match=r"table = 'cell' must be one of: rows, cells, .* \(did you mean 'cells'\?\)"):
        results.to_frame("cell")  # type: ignore[arg-type]


def test_print_shows_the_table_its_caption_and_the_warnings(results: Results) -> None:
    assert str(results) == repr(results)
    lines = str(results).splitlines()
    assert lines[0].split()[:3] == ["views", "fusion", "smoother"]
    assert [line.split()[0] for line in lines[1:3]] == ["face", "face,bottom"]
    for row, line in zip(results.rows, lines[1:3], strict=True):
        assert row.score
        assert f"{row.score.value:.3f}"[1:] in line
    assert any(line.startswith("test: ") for line in lines)
    assert [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")] == results.warnings
    shown = repr(results.compare("linear", "toy-sum"))
    assert results.compare("linear", "toy-sum").sentence() in shown.splitlines()
    assert "A - B" in shown


def test_of_many_rows_print_shows_the_best(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusionkit.report.run._SHOWN", 1)
    lines = repr(results).splitlines()
    best = max(results.rows, key=lambda row: row.score.value if row.score else 0.0)
    assert [line.split()[:2] for line in lines[1:2]] == [[best.axes.views, best.axes.fusion]]
    assert lines[2] == "the best 1 of 2 rows; table() has all"
