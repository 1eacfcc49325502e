"""``fusionkit report`` on a small run, and the page that every bench leaves."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import call, output_of, refusal_of

from fusionkit import api
from fusionkit.report.run import Results


@pytest.mark.slow
def test_a_bench_leaves_a_page_with_clips_and_pictures(finished_page: Path) -> None:
    text = finished_page.read_text(encoding="utf-8")
    assert "Clips over time" in text
    assert 'id="pictures"' in text
    assert 'src="data:image/jpeg;base64,' in text
    assert "Left out of this page" not in text


@pytest.mark.slow
def test_the_command_writes_the_same_page_without_pictures_on_request(
    finished_run: Path, finished_page: Path, tmp_path: Path
) -> None:
    output_of("report", finished_run, "--out", tmp_path / "a.html")
    assert (tmp_path / "a.html").read_bytes() == finished_page.read_bytes()
    output_of("report", finished_run, "--out", tmp_path / "b.html", "--no-pictures")
    text = (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "data:image" not in text
    assert "Clips over time" in text
    assert "pictures of frames: switched off" in text


def test_the_settings_on_the_page_run_the_same_grid(finished_run: Path, tmp_path: Path) -> None:
    from fusionkit.report.page.provenance import origins

    (origin,) = origins(Results(finished_run).grid)
    (tmp_path / "grid.json").write_text(origin.config, encoding="utf-8")
    plan = api.prepare(str(tmp_path / "grid.json")).plan
    assert [row.id for row in plan.rows] == [record["id"] for record in Results(finished_run).grid["rows"]]


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_tables_go_to_the_terminal_or_a_file(finished_run: Path, tmp_path: Path) -> None:
    printed = call("report", finished_run, "--format", "csv")
    assert printed.exit_code == 0
    assert len(list(csv.DictReader(printed.stdout.splitlines()))) == len(Results(finished_run).rows)
    output_of("report", finished_run, "--format", "csv", "--out", tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == printed.stdout
    assert r"\toprule" in call("report", finished_run, "--format", "latex").stdout
    other = call("report", finished_run, "--format", "csv", "--test", "bootstrap").stdout
    for row, old in zip(_rows(other), _rows(printed.stdout), strict=True):
        changed = {name for name in row if row[name] != old[name]}
        assert "macro_f1_hi" in changed
        assert all(name.endswith(("_lo", "_hi")) or name in ("p", "p_holm", "significance") for name in changed)
    assert json.loads(call("report", finished_run, "--format", "json").stdout)["rows"]


@pytest.mark.slow
def test_figures_are_written_as_svg(finished_run: Path, tmp_path: Path) -> None:
    words = "--format", "csv", "--out", tmp_path / "t.csv", "--figures", tmp_path / "figures"
    text = output_of("report", finished_run, *words)
    names = {file.stem for file in (tmp_path / "figures").glob("*.svg")}
    assert {"scores", "class-f1-1", "confusion-1-1", "cost-params", "timeline-1-1"} <= names
    assert f"{len(names)} figures" in text


@pytest.mark.slow
def test_missing_data_are_left_out_and_named(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fusionkit.errors import DataError
    from fusionkit.report import run_data

    def gone(*_: object) -> None:
        raise DataError("synthetic: the disk is not mounted")

    monkeypatch.setattr(run_data, "open_folds", gone)
    output_of("report", finished_run, "--out", tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "the disk is not mounted" in text
    assert "Clips over time" not in text


@pytest.mark.slow
def test_data_that_have_changed_show_no_clips(finished_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy)
    results = Results(copy)
    results.grid["grids"][0]["description"]["limit"] = 40
    place = results.report(tmp_path / "a.html")
    text = place.read_text(encoding="utf-8")
    assert "the data have changed since the run" in text
    assert "Clips over time" not in text


@pytest.mark.slow
def test_a_page_that_cannot_be_written_costs_a_line_and_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fusionkit.report.page import write

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(write, "write_report", broken)
    prepared = api.prepare(
        overrides={
            "datasets": ["synthetic:train=8,val=6,test=6,clips=2,clip_length=6"],
            "recipe": {"epochs": 1},
            "seeds": 1,
            "regions": ["eye"],
            "fusions": ["plain-concat"],
            "smoothers": ["none"],
        },
        out=tmp_path / "run",
        executor="serial",
    )
    outcome, results = api.execute(prepared)
    assert [note for note in outcome.notes if "report.html" in note] == [
        "report.html was not written: RuntimeError: no ink; see fusionkit report --debug"
    ]
    assert all(row.score for row in results.rows)
    assert (tmp_path / "run" / "results.csv").exists()


def test_rows_as_a_data_frame_and_in_a_notebook(finished_run: Path) -> None:
    results = Results(finished_run)
    html = results._repr_html_()
    assert html.count("<tr") == len(results.rows) + 1
    pandas = pytest.importorskip("pandas")
    frame = results.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["macro_f1"].tolist() == [row.score.value for row in results.rows if row.score]


@pytest.mark.parametrize(("words", "fact"), [(["--out", "."], "is a folder"), (["--figures", "f"], "is a file")])
def test_an_unusable_path_is_refused_before_anything_is_written(
    finished_run: Path, elsewhere: Path, words: list[str], fact: str
) -> None:
    Path("f").touch()
    line = refusal_of("report", finished_run, *words)
    assert f"{words[1]} {fact}" in line
    assert [path.name for path in elsewhere.iterdir()] == ["f"]


@pytest.mark.slow
def test_reading_results_does_not_load_torch() -> None:
    modules = "fusionkit.report.page.write, fusionkit.report.paper_table, fusionkit.report.comparison"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=600).returncode == 0


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal_of("report", tmp_path)
    assert list(tmp_path.iterdir()) == []
