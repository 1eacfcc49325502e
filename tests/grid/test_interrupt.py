"""Ctrl-C: one line, exit code 130, no process left behind, and the same command goes on to the same results."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

GRID = (
    *("--dataset", "synthetic:train=10,val=8,test=8,clips=4,clip_length=8", "--recipe", "epochs=4", "--seeds", "4"),
    *("--regions", "eye", "--fusion", "concat:width=32", "--smoother", "none", "--workers", "2"),
)


def start(folder: Path, out: str, *words: str) -> subprocess.Popen[str]:
    # A shell's background job ignores interrupts, and so would what it starts: the command must not.
    launch = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    launch += "from fusionkit.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", launch, "bench", *GRID, "--out", out, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "FUSIONKIT_CACHE": str(folder / f"cache-{out}")},
    )


def interrupted_when(process: subprocess.Popen[str], there: Path, delay: float) -> str:
    deadline = time.monotonic() + 60
    while not there.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=60)[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run, in one process."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(folder, "out", "--executor", "serial")
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    return folder / "out"


@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_an_interrupted_run_goes_on_to_the_same_results(tmp_path: Path, whole: Path, delay: float) -> None:
    process = start(tmp_path, "out")
    told = interrupted_when(process, tmp_path / "out/grid.json", delay)
    assert process.returncode == 130, told
    assert "interrupted" in told
    assert "Traceback" not in told
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    process = start(tmp_path, "out")
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0, told
    for name in ("results.csv", "cells.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()
