"""``fusionkit report`` on a small run, and the page that every bench leaves."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from fusionkit import api
from fusionkit.cli.report import report
from fusionkit.grid.run import RunOptions
from fusionkit.report.run import Results

app = typer.Typer()
app.command()(report)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, [*words], env={"COLUMNS": "140"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSIONKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("runs") / "run"
        api.bench(
            out=out,
            options=RunOptions(executor="serial"),
            datasets=["synthetic:train=8,val=6,test=6,clips=3,clip_length=10"],
            recipe={"epochs": 2},
            seeds=1,
            regions=["eye", "mouth"],
            fusions=["plain-concat", "mlp:hidden=8"],
            smoothers=["none", "window:width=3"],
        )
        yield out


def test_a_bench_leaves_a_page_with_clips_and_pictures(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "Clips over time" in text
    assert "What the backbones see" in text
    assert 'src="data:image/jpeg;base64,' in text
    assert "Left out of this page" not in text


def test_the_command_writes_the_same_page_without_pictures_on_request(folder: Path, tmp_path: Path) -> None:
    result = run(str(folder), "--out", str(tmp_path / "a.html"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.html").read_bytes() == (folder / "report.html").read_bytes()
    assert run(str(folder), "--out", str(tmp_path / "b.html"), "--no-pictures").exit_code == 0
    text = (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "data:image" not in text
    assert "Clips over time" in text
    assert "pictures of frames: not asked for" in text


def test_the_settings_on_the_page_run_the_same_grid(folder: Path, tmp_path: Path) -> None:
    from fusionkit.report.page.provenance import origins

    (origin,) = origins(Results(folder).grid)
    (tmp_path / "grid.json").write_text(origin.config)
    plan = api.prepare(str(tmp_path / "grid.json")).plan
    assert [row.id for row in plan.rows] == [record["id"] for record in Results(folder).grid["rows"]]


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_tables_go_to_the_terminal_or_a_file(folder: Path, tmp_path: Path) -> None:
    printed = run(str(folder), "--format", "csv")
    assert printed.exit_code == 0
    assert len(list(csv.DictReader(printed.stdout.splitlines()))) == len(Results(folder).rows)
    assert run(str(folder), "--format", "csv", "--out", str(tmp_path / "t.csv")).exit_code == 0
    assert (tmp_path / "t.csv").read_text() == printed.stdout
    assert r"\toprule" in run(str(folder), "--format", "latex").stdout
    other = run(str(folder), "--format", "csv", "--intervals", "bootstrap").stdout
    for row, old in zip(_rows(other), _rows(printed.stdout), strict=True):
        changed = {name for name in row if row[name] != old[name]}
        assert "macro_f1_hi" in changed
        assert changed <= {"macro_f1_lo", "macro_f1_hi", "delta_lo", "delta_hi"}
    assert json.loads(run(str(folder), "--format", "json").stdout)["rows"]


def test_figures_are_written_as_svg(folder: Path, tmp_path: Path) -> None:
    result = run(
        str(folder), "--format", "csv", "--out", str(tmp_path / "t.csv"), "--figures", str(tmp_path / "figures")
    )
    assert result.exit_code == 0, result.output
    names = {file.stem for file in (tmp_path / "figures").glob("*.svg")}
    assert {"scores", "class-f1-1", "confusion-1-1", "cost-params", "timeline-1-1"} <= names
    assert f"wrote {len(names)} figures" in result.output


def test_data_that_are_gone_are_left_out_and_said_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fusionkit.errors import DataError
    from fusionkit.report import tested_data

    def gone(*_: object) -> None:
        raise DataError("synthetic: the disk is not mounted")

    monkeypatch.setattr(tested_data, "open_folds", gone)
    assert run(str(folder), "--out", str(tmp_path / "a.html")).exit_code == 0
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "the disk is not mounted" in text
    assert "Clips over time" not in text


def test_data_that_have_changed_show_no_clips(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    results = Results(copy)
    results.grid["grids"][0]["description"]["limit"] = 40
    place = results.report(tmp_path / "a.html")
    text = place.read_text(encoding="utf-8")
    assert "the data have changed since they were tested on" in text
    assert "Clips over time" not in text


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
        options=RunOptions(executor="serial"),
    )
    outcome, results = api.execute(prepared)
    assert [note for note in outcome.notes if "report.html" in note] == [
        "report.html was not written: RuntimeError: no ink; fusionkit report --debug says more"
    ]
    assert all(row.score for row in results.rows)
    assert (tmp_path / "run" / "results.csv").exists()


def test_rows_as_a_data_frame_and_in_a_notebook(folder: Path) -> None:
    results = Results(folder)
    html = results._repr_html_()
    assert html.count("<tr") == len(results.rows) + 1
    pandas = pytest.importorskip("pandas")
    frame = results.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["macro_f1"].tolist() == [row.score.value for row in results.rows if row.score]


def test_without_pandas_one_line_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusionkit.errors import FusionKitError

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(FusionKitError, match=r"^to_frame\(\) needs pandas \(pip install pandas\)$"):
        Results(folder).to_frame()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "."], "--out . is a folder (a file)"),
        (["--figures", "f"], "--figures f is a file (a folder)"),
    ],
)
def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f").touch()
    result = run(str(folder), "--format", "html", *words)
    assert result.exit_code == 2
    assert said in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_what_a_run_found_is_read_without_what_trained_it() -> None:
    modules = "fusionkit.report.page.write, fusionkit.report.paper_table, fusionkit.report.comparison"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    result = run(str(tmp_path))
    assert result.exit_code == 2
    assert "holds no grid" in result.output
    assert list(tmp_path.iterdir()) == []
