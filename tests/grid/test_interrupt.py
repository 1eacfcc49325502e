"""Ctrl-C: one line, exit code 130, no process left behind, and the same command goes on to the same results."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked_command import forked

pytestmark = pytest.mark.slow

GRID = (
    *("--dataset", "synthetic:train=10,val=8,test=8,clips=4,clip_length=8", "--recipe", "epochs=4", "--seeds", "4"),
    *("--regions", "eye", "--fusion", "concat:width=32", "--smoother", "none", "--workers", "2"),
)


def start(folder: Path) -> subprocess.Popen[str]:
    # A shell's background job ignores interrupts, and so would what it starts: the command must not.
    launch = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    launch += "from fusionkit.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", launch, "bench", *GRID, "--out", "out"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "FUSIONKIT_CACHE": str(folder / "cache")},
    )


def interrupted_when(process: subprocess.Popen[str], folder: Path, pattern: str) -> str:
    """Interrupt a process as soon as a file exists, and return its output."""
    deadline = time.monotonic() + 300
    while not any(folder.glob(pattern)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=300)[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run, in one process."""
    folder = tmp_path_factory.mktemp("whole")
    done = forked(folder, "bench", *GRID, "--out", "out", "--executor", "serial")
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.mark.parametrize("pattern", ["grid.json", "heads/*/done.json"])
def test_an_interrupted_run_resumes_to_the_same_results(tmp_path: Path, whole: Path, pattern: str) -> None:
    process = start(tmp_path)
    output = interrupted_when(process, tmp_path / "out", pattern)
    assert process.returncode == 130, output
    assert output.strip().endswith("Finished work is saved; rerun the command to resume.")
    assert "Traceback" not in output
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    done = forked(tmp_path, "bench", *GRID, "--out", "out")
    assert done.returncode == 0, done.stderr
    for name in ("results.csv", "cells.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()
