"""Faults stay local: a plugin that aborts, hangs or raises loses its own cells, and every other one finishes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = """
import os, signal, time
import torch
from fusionkit.contracts import StackedFusion
from fusionkit.registry import FUSIONS

class Bad(StackedFusion):
    def combine(self, views, present):
        if self.training:
            self.misbehave()
        return views.mean(1)

@FUSIONS.register_module()
class Raises(Bad):
    def misbehave(self):
        raise RuntimeError("a bug in the plugin")

@FUSIONS.register_module()
class Exits(Bad):
    def misbehave(self):
        os._exit(3)

@FUSIONS.register_module()
class Killed(Bad):
    def misbehave(self):
        os.kill(os.getpid(), signal.SIGKILL)

@FUSIONS.register_module()
class Sleeps(Bad):
    def misbehave(self):
        time.sleep(600)

@FUSIONS.register_module()
class Nan(Bad):
    def combine(self, views, present):
        return views.mean(1) * float("nan")
"""

GRID = (
    *("--dataset", "synthetic:train=8,val=6,test=6,clips=4,clip_length=8", "--recipe", "epochs=2", "--seeds", "1"),
    *("--regions", "eye", "--smoother", "none", "--plugin", "faults.py", "--executor", "processes", "--workers", "2"),
    *("--out", "out"),
)


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fusionkit", "bench", *GRID, *words]
    environment = {**os.environ, "FUSIONKIT_CACHE": str(folder / "cache")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "faults.py").write_text(PLUGIN)
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> subprocess.CompletedProcess[str]:
    fusions = "raises,exits,plain-mean,killed,sleeps,nan,plain-max"
    return bench(folder, "--fusion", fusions, "--cell-timeout", "8")


def errors(folder: Path) -> dict[str, str]:
    with (folder / "out/cells.csv").open() as stream:
        return {row["fusion"]: row["error"] for row in csv.DictReader(stream) if row["state"] == "failed"}


def test_every_healthy_cell_finishes_and_the_exit_code_says_that_some_failed(
    folder: Path, finished: subprocess.CompletedProcess[str]
) -> None:
    assert finished.returncode == 1, finished.stderr
    with (folder / "out/cells.csv").open() as stream:
        done = {row["fusion"] for row in csv.DictReader(stream) if row["state"] == "done"}
    assert done == {"linear", "plain-mean", "plain-max"}


@pytest.mark.usefixtures("finished")
def test_each_failure_says_what_happened(folder: Path) -> None:
    found = errors(folder)
    assert "a bug in the plugin" in found.pop("raises")
    assert "the loss is nan in epoch 1" in found.pop("nan")
    assert found == {
        "exits": "its process died (exit code 3)",
        "killed": "its process died (signal 9)",
        "sleeps": "took longer than 8 s (--cell-timeout) and was stopped",
    }


def test_the_summary_names_every_failure(finished: subprocess.CompletedProcess[str]) -> None:
    summary = finished.stderr[finished.stderr.rindex("score:") :]
    for name in ("raises", "exits", "killed", "sleeps", "nan"):
        assert f"failed face,eye/{name}/none/0: " in summary
    assert "5 cell(s) failed" in summary


@pytest.mark.usefixtures("finished")
def test_a_failed_cell_is_left_alone_until_it_is_asked_for(folder: Path) -> None:
    again = bench(folder, "--fusion", "raises,plain-mean")
    assert again.returncode == 1
    assert "0 heads trained, 0 cells scored, 2 cells reused" in again.stdout
    retried = bench(folder, "--fusion", "raises,plain-mean", "--retry-failed")
    assert retried.returncode == 1
    assert "fit: 1/1 heads" in retried.stderr


@pytest.mark.usefixtures("finished")
def test_failing_fast_stops_at_the_first_failure(folder: Path) -> None:
    result = bench(folder, "--fusion", "raises,plain-concat", "--retry-failed", "--fail-fast", "--executor", "serial")
    assert result.returncode == 1
    assert "a bug in the plugin" in result.stderr
    assert "Traceback" not in result.stderr


def test_two_runs_at_once_do_every_piece_of_work_once(tmp_path: Path) -> None:
    (tmp_path / "faults.py").write_text(PLUGIN)
    words = [sys.executable, "-m", "fusionkit", "bench", *GRID, "--fusion", "plain-mean,plain-max,mlp", "--seeds", "3"]
    environment = {**os.environ, "FUSIONKIT_CACHE": str(tmp_path / "cache")}
    both = [
        subprocess.Popen(
            words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    with (tmp_path / "out/cells.csv").open() as stream:
        assert [row["state"] for row in csv.DictReader(stream)] == ["done"] * 12
    scored = [int(out.split(" cells scored")[0].rsplit(" ", 1)[-1]) for out, _ in told]
    assert sum(scored) == 12, told
    assert not [path for path in tmp_path.rglob("leases/*") if path.is_file()]
