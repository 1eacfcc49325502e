"""``fusionkit merge`` on small runs: what it says, and that the union needs no more training."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import call, output_of, refusal_of

DATA = ("--dataset", "synthetic:train=8,val=6,test=6,clips=4,clip_length=8")
GRID = ("--recipe", "epochs=2", "--regions", "eye", "--fusion", "plain-concat", "--executor", "serial")
SMOOTHERS = ("--smoother", "none", "--smoother", "window:width=auto")


def bench(out: Path, seeds: str, *words: str) -> None:
    output_of("bench", *DATA, *GRID, *SMOOTHERS, "--set", f"seeds={seeds}", "--out", out, *words)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSIONKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("fusionkit.report.page.write.write_report", lambda *_, **__: None)  # no test reads the pages
        folder = tmp_path_factory.mktemp("runs")
        bench(folder / "a", "[0,1]")
        bench(folder / "b", "[2]")
        bench(folder / "whole", "[0,1,2]")
        bench(folder / "other", "[0]", "--split", "holdout")
        yield folder


def rows(run: Path, name: str) -> list[dict[str, str]]:
    with (run / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_copied_work_and_rows_to_score_again_are_reported(halves: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line, warning = output_of("merge", halves / "a", halves / "b", "--out", out).splitlines()
    assert line == f"6 heads and 6 cells copied; 4 rows in {out}/results.csv"  # 2 fusions x 3 seeds, without the window
    assert warning.startswith("warning: 2 rows must be scored again")
    assert f"fusionkit bench ... --out {out}" in warning
    assert warning.endswith("face/linear/window:width=auto, face,eye/plain-concat/window:width=auto")
    states = {(row["smoother"], row["state"]) for row in rows(out, "cells.csv")}
    assert states == {("none", "done"), ("window:width=auto", "planned")}
    assert [bool(row["macro_f1"]) for row in rows(out, "results.csv")] == [True, False, True, False]
    assert len(rows(out, "costs.csv")) == 6


@pytest.mark.slow
def test_the_grid_run_once_trains_nothing_and_gives_the_tables_of_a_run_of_the_whole(
    halves: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(halves / "a", out)
    output_of("merge", halves / "b", "--out", out)
    trained = {path: path.read_bytes() for path in out.glob("heads/*/cost.json")}
    assert len(trained) == 6
    bench(out, "[0,1,2]")
    assert {path: path.read_bytes() for path in out.glob("heads/*/cost.json")} == trained  # seconds never repeat
    for name in ("results.csv", "cells.csv"):
        assert (out / name).read_bytes() == (halves / "whole" / name).read_bytes()
    after = output_of("merge", halves / "b", "--out", out)
    assert after == f"0 heads and 0 cells copied; 4 rows in {out}/results.csv\n"


@pytest.mark.slow
def test_another_split_is_refused_in_one_line_and_nothing_is_written(halves: Path, tmp_path: Path) -> None:
    line = refusal_of("merge", halves / "a", halves / "other", "--out", tmp_path / "out")
    for fact in (halves / "other", halves / "a", "holdout"):
        assert str(fact) in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_damaged_work_is_named(halves: Path, tmp_path: Path) -> None:
    shutil.copytree(halves / "b", tmp_path / "b")
    head = min((tmp_path / "b" / "heads").iterdir())
    (head / "head.safetensors").write_bytes(b"")
    text = output_of("merge", tmp_path / "b", "--out", tmp_path / "out")
    (warning,) = [line for line in text.splitlines() if line.startswith("warning: 1 damaged")]
    assert warning.endswith(f" {head}")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal_of("merge", tmp_path, "--out", tmp_path / "out")


def test_the_output_folder_is_required(tmp_path: Path) -> None:
    result = call("merge", tmp_path)
    assert result.exit_code == 2
    assert "--out" in result.output
