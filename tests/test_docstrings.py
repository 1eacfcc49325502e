"""Every public call has an example in its docstring, and the examples give what they say."""

from __future__ import annotations

import doctest
import inspect
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from kept_frames import frames_kept
from tiny_pack import Said, write_pack

import fusionkit
from fusionkit import api

NAMES = ["bench", *(name for name in api.__all__ if inspect.isfunction(getattr(api, name)) and name != "bench")]
CALLS: dict[str, Any] = {name: getattr(api, name) for name in [*NAMES, "Predictor", "Results"]}


def write_inputs(folder: Path) -> None:
    """Write what the examples read: photos, aligned faces, and a detector."""
    for name in ("photos/anna.png", "faces/ben.png", "faces/cora.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((112, 112, 3), 128, np.uint8))
    points = np.array([[45.0, 50], [75, 50], [60, 65], [50, 80], [70, 80]])
    write_pack(folder / "pack", [Said(np.array([30.0, 30, 98, 98]), points)])


def run_examples(name: str) -> str:
    """Run the examples of a call in the current folder, and return what differs."""
    text: list[str] = []
    names = {"api": api, "fusionkit": fusionkit, "np": np, "Path": Path}
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(recurse=False).find(CALLS[name], name, globs=names):
        runner.run(test, out=text.append)
    return "".join(text)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with the inputs and with the run of the first example, ``runs/first``."""
    before = Path.cwd()
    with (
        tempfile.TemporaryDirectory() as found,
        pytest.MonkeyPatch.context() as patch,
        frames_kept(),
    ):
        patch.chdir(found)
        patch.setenv("FUSIONKIT_CACHE", str(Path(found) / "cache"))
        write_inputs(Path(found))
        run_examples("bench")
        yield Path(found)
        os.chdir(before)


def test_every_public_call_has_an_example() -> None:
    assert len(CALLS) > 45
    assert [name for name, call in CALLS.items() if ">>> " not in (call.__doc__ or "")] == []


# Gradio leaves an event loop and sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_examples_give_what_they_say(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if needed := {"export": "onnxscript", "demo": "gradio"}.get(name):
        pytest.importorskip(needed)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FUSIONKIT_CACHE", str(folder / "cache"))
    assert run_examples(name) == ""
