"""``fusionkit compare`` on a small run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from fusionkit.api import bench
from fusionkit.cli.compare import compare
from fusionkit.grid.run import RunOptions
from fusionkit.report.run import Results

app = typer.Typer()
app.command()(compare)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, [*words], env={"COLUMNS": "140"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSIONKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("runs") / "run"
        bench(
            out=out,
            options=RunOptions(executor="serial"),
            datasets=["synthetic:train=8,val=6,test=6,clips=4,clip_length=8"],
            recipe={"epochs": 2},
            seeds=2,
            regions=["eye", "mouth"],
            fusions=["plain-concat", "mlp:hidden=8"],
            smoothers=["none"],
        )
        yield out


def test_it_prints_both_scores_the_difference_every_class_and_a_sentence(folder: Path) -> None:
    result = run(str(folder), "face,mouth/plain-concat/none", "face/linear/none")
    assert result.exit_code == 0, result.output
    found = Results(folder).compare("face,mouth/plain-concat/none", "linear")
    rows = {row.axes.name: row for row in Results(folder).rows}
    row = rows["face,mouth/plain-concat/none"]
    assert row.score is not None
    assert row.delta is not None
    for written, value in (("A", row.score.value), ("A - B", row.delta.value)):
        number = re.escape(f"{value:+.3f}".replace("0.", ".", 1).removeprefix("+"))
        assert re.search(rf"^{written} +\+?{number} \[", result.output, re.MULTILINE), result.output
    assert found.overall.p == row.p
    for each in found.classes:
        assert re.search(rf"^{each.name} +{each.n_units} +{each.n_frames} ", result.output, re.MULTILINE)
    assert found.sentence() in result.output
    assert "6 units" in result.output
    assert "seeds 0, 1 of both" in result.output
    assert "warning: only 6 units were tested" in result.output


def test_ids_and_parts_of_names_say_the_same(folder: Path) -> None:
    a, b = (Results(folder).grid["rows"][index]["id"] for index in (1, 0))
    by_name = run(str(folder), "face,eye/plain-concat/none", "face/linear/none")
    assert by_name.exit_code == 0
    assert run(str(folder), a[:6], b[:6]).output == by_name.output
    assert run(str(folder), "eye/plain-concat", "face").output == by_name.output


def test_a_name_that_fits_several_rows_is_one_line_with_the_candidates(folder: Path) -> None:
    result = run(str(folder), "plain-concat", "linear")
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert line.startswith("error: 'plain-concat' could be any of face,eye/plain-concat/none (")
    assert "; face,mouth/plain-concat/none (" in line


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    result = run(str(tmp_path), "a", "b")
    assert result.exit_code == 2
    assert "holds no grid" in result.output


def test_its_help_can_be_read() -> None:
    result = run("--help")
    assert result.exit_code == 0, result.output
    assert "views/fusion/smoother" in result.output
