"""Faults stay local: a plugin that aborts, hangs or raises loses its own cells, and every other one finishes."""

from __future__ import annotations

import csv
import json
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from forked_command import ForkedCommand, forked

from fusionkit.grid import first_checks

pytestmark = pytest.mark.slow

PLUGIN = """
import ctypes, os, signal, sys, time
import numpy as np
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
class Aborts(Bad):
    def misbehave(self):
        os.abort()

@FUSIONS.register_module()
class Segfaults(Bad):
    def misbehave(self):
        ctypes.string_at(0)

@FUSIONS.register_module()
class Vanishes(Bad):
    def misbehave(self):
        os._exit(0)

@FUSIONS.register_module()
class Quits(Bad):
    def misbehave(self):
        sys.exit("enough")

@FUSIONS.register_module()
class Interrupts(Bad):
    def misbehave(self):
        raise KeyboardInterrupt

@FUSIONS.register_module()
class Closes(Bad):
    def misbehave(self):
        raise GeneratorExit

@FUSIONS.register_module()
class Chatters(Bad):
    def misbehave(self):
        for stream in (sys.stdout, sys.stderr):
            stream.write("chatter " * 1_500_000)
        raise RuntimeError("prattle " * 1_500_000)

@FUSIONS.register_module()
class Grows(Bad):
    kept = []

    def misbehave(self):
        while True:
            self.kept.append(np.ones(2**20))

@FUSIONS.register_module()
class GrowsInTorch(Bad):
    def misbehave(self):
        hoard = [torch.ones(2**20) for _ in range(2**20)]

@FUSIONS.register_module()
class GrowsNatively(Bad):
    def misbehave(self):
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'")
        os.abort()

@FUSIONS.register_module()
class Nan(Bad):
    def combine(self, views, present):
        return views.mean(1) * float("nan")
"""

GRID = (
    *("--dataset", "synthetic:train=5,val=4,test=4,clips=4,clip_length=6", "--recipe", "epochs=2", "--seeds", "1"),
    *("--regions", "eye", "--smoother", "none", "--plugin", "faults.py", "--executor", "processes", "--workers", "2"),
    *("--out", "out"),
)


def bench(folder: Path, *words: str) -> CompletedProcess[str]:
    return forked(folder, "bench", *GRID, *words)


@pytest.fixture(scope="module", autouse=True)
def unchecked() -> Iterator[None]:
    """No checks before the first bench: they would run into every fault themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_checks, "failed_checks", lambda *_: {})
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "faults.py").write_text(PLUGIN, encoding="utf-8")
    return folder


BAD = (
    *("raises", "exits", "killed", "sleeps", "nan", "aborts", "segfaults", "vanishes", "quits"),
    *("interrupts", "closes", "chatters", "grows", "grows-in-torch", "grows-natively"),
)
HEALTHY = ("plain-mean", "mlp", "plain-max")


@pytest.fixture(scope="module")
def finished(folder: Path) -> CompletedProcess[str]:
    mixed = [*BAD[:4], HEALTHY[0], *BAD[4:8], HEALTHY[1], *BAD[8:], HEALTHY[2]]
    return bench(folder, "--fusion", ",".join(mixed), "--cell-timeout", "8", "--worker-memory", "0.5")


def cells(folder: Path, out: str, state: str) -> dict[str, dict[str, str]]:
    with (folder / out / "cells.csv").open(encoding="utf-8") as stream:
        return {row["fusion"]: row for row in csv.DictReader(stream) if row["state"] == state}


def stored(folder: Path, out: str) -> dict[str, bytes]:
    """What is stored of finished cells and their heads."""
    names = ("cells/*/*", "heads/*/*_logits.npy", "heads/*/head.safetensors")
    files = [file for name in names for file in (folder / out).glob(name)]
    return {str(file.relative_to(folder / out)): file.read_bytes() for file in files}


def test_every_healthy_cell_equals_that_of_a_serial_run_without_the_bad_ones(
    folder: Path, finished: CompletedProcess[str]
) -> None:
    assert finished.returncode == 1, finished.stderr
    serial = ("--executor", "serial", "--out", "healthy")
    assert bench(folder, *serial, "--fusion", ",".join(HEALTHY)).returncode == 0
    done = cells(folder, "out", "done")
    assert set(done) == {"linear", *HEALTHY}
    assert done == cells(folder, "healthy", "done")
    assert stored(folder, "out") == stored(folder, "healthy")
    assert len(stored(folder, "out")) == 4 * (3 + 3)


@pytest.mark.usefixtures("finished")
def test_each_failure_says_what_happened(folder: Path) -> None:
    found = {fusion: row["error"] for fusion, row in cells(folder, "out", "failed").items()}
    assert "a bug in the plugin" in found.pop("raises")
    assert "the loss is nan in epoch 1" in found.pop("nan")
    for name, error in {
        "quits": "SystemExit: enough",
        "interrupts": "KeyboardInterrupt",
        "closes": "GeneratorExit",
    }.items():
        message = rf"fusion {name.title()} on views face \(\d+, \d+\), eye \(\d+, \d+\) failed: {error}"
        assert re.fullmatch(message, found.pop(name))
    assert len(found.pop("chatters")) < 2_000
    ceiling = "ran out of the 0.5 GiB that a worker may use (--worker-memory)"
    grown = found.pop("grows")
    assert grown.startswith(f"{ceiling}: fusion Grows on views ")
    assert "Unable to allocate 8.00 MiB" in grown
    grown = found.pop("grows-in-torch")
    assert grown.startswith(f"{ceiling}: fusion GrowsInTorch on views ")
    assert "can't allocate memory" in grown
    assert found == {
        "exits": "its process died (exit code 3)",
        "killed": "its process died (signal 9)",
        "sleeps": "took longer than 8 s (--cell-timeout) and was stopped",
        "aborts": "its process died (signal 6)",
        "segfaults": "its process died (signal 11)",
        "vanishes": "its process died (exit code 0)",
        "grows-natively": f"{ceiling}, and its process died (signal 6)",
    }


@pytest.mark.usefixtures("finished")
def test_each_failure_leaves_its_traceback(folder: Path) -> None:
    grid = json.loads((folder / "out/grid.json").read_text(encoding="utf-8"))
    heads = {row["axes"]["fusion"]: next(iter(row["cells"][0]["heads"].values())) for row in grid["rows"]}
    traces = {name: (folder / f"out/failures/{heads[name]}.txt").read_text(encoding="utf-8") for name in BAD}
    silent = {"exits", "vanishes", "killed"}  # they leave nobody the time to say anything
    for name in set(BAD) - silent - {"nan"}:
        assert "in misbehave" in traces[name], (name, traces[name])
    assert "Fatal Python error: Segmentation fault" in traces["segfaults"]
    assert "terminate called" in traces["grows-natively"]
    assert all(trace.strip() for trace in traces.values())


def test_what_a_component_prints_and_raises_is_shown_in_part(folder: Path, finished: CompletedProcess[str]) -> None:
    assert len(finished.stdout) < 50_000
    assert "chatter chatter" not in finished.stdout
    assert len(finished.stderr) < 50_000
    assert finished.stderr.count(f"({24_000_000 - 2_000:,} more characters of output are not shown)") == 1
    (trace,) = (
        text
        for file in (folder / "out/failures").glob("*.txt")
        if "prattle" in (text := file.read_text(encoding="utf-8"))
    )
    for word in ("chatter ", "prattle "):
        assert len(max(re.findall(f"(?:{word})+", trace), key=len)) == {"chatter ": 24, "prattle ": 12}[word] * 10**6


def test_the_summary_names_every_failure(finished: CompletedProcess[str]) -> None:
    summary = finished.stderr[finished.stderr.rindex("score:") :]
    for name in BAD:
        assert f" face,eye/{name}/none/0: " in summary
    assert f"{len(BAD)} cell(s) failed" in summary
    assert "Traceback" not in finished.stderr
    assert "Fatal Python error" not in finished.stderr


@pytest.mark.usefixtures("finished")
def test_a_failed_cell_is_left_alone_until_it_is_asked_for(folder: Path) -> None:
    again = bench(folder, "--fusion", "raises,plain-mean", "--executor", "serial")
    assert again.returncode == 1
    assert "0 heads trained, 0 cells scored, 2 cells reused" in again.stdout
    retried = bench(folder, "--fusion", "raises,plain-mean", "--executor", "serial", "--retry-failed")
    assert retried.returncode == 1
    assert "fit: 1/1 heads" in retried.stderr


@pytest.mark.usefixtures("finished")
def test_failing_fast_stops_at_the_first_failure(folder: Path) -> None:
    result = bench(folder, "--fusion", "raises,plain-concat", "--retry-failed", "--fail-fast", "--executor", "serial")
    assert result.returncode == 1
    assert "a bug in the plugin" in result.stderr
    assert "Traceback" not in result.stderr


COUNTING = """
import os
import numpy as np
from pathlib import Path
from fusionkit.contracts import Backbone, StackedFusion
from fusionkit.registry import BACKBONES, FUSIONS

def note(text):
    handle = os.open(Path(__file__).with_name("work.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (text + "\\n").encode())
    os.close(handle)

@BACKBONES.register_module()
class Counted(Backbone):
    dim, input_size = 3, (8, 8)

    def embed(self, views):
        note(f"embed {views.any((1, 2, 3)).sum()}")
        return views.mean((1, 2)).astype(np.float32)

class CountedFusion(StackedFusion):
    begun = False

    def combine(self, views, present):
        if self.training and not self.begun:
            self.begun = True
            note("fit")
        return views.mean(1)

@FUSIONS.register_module()
class CountedA(CountedFusion):
    pass

@FUSIONS.register_module()
class CountedB(CountedFusion):
    pass
"""


def work_done(folder: Path) -> tuple[int, int]:
    """(views that went through the backbone, heads trained)."""
    lines = (folder / "work.log").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("embed")), lines.count("fit")


def test_two_runs_at_once_do_every_piece_of_work_once(tmp_path: Path) -> None:
    words = ["bench", *GRID, "--fusion", "counted-a,counted-b", "--seeds", "3", "--backbone", "counted"]
    finished: dict[str, list[CompletedProcess[str]]] = {}
    for name, runs in (("alone", 1), ("both", 2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "faults.py").write_text(COUNTING, encoding="utf-8")
        how = ["--executor", "serial"] if runs == 1 else ["--workers", "1"]
        commands = [ForkedCommand(folder, *words, *how) for _ in range(runs)]
        finished[name] = [command.wait() for command in commands]
        assert [done.returncode for done in finished[name]] == [0] * runs, finished
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert work_done(alone)[1] == 2 * 3
    assert work_done(alone)[0] > 2 * 250  # two views of nearly every frame
    assert work_done(both) == work_done(alone)
    for figure in ("heads trained", "cells scored"):  # of the main view alone too, by a fusion that counts nothing
        counts = [int(done.stdout.split(f" {figure}")[0].rsplit(" ", 1)[-1]) for done in finished["both"]]
        assert sum(counts) == 3 * 3, finished
    for name in ("results.csv", "cells.csv"):
        assert (both / "out" / name).read_bytes() == (alone / "out" / name).read_bytes()
    assert stored(both, "out") == stored(alone, "out")
    assert not [path for path in both.rglob("leases/*") if path.is_file()]


def test_a_disk_that_is_full_is_told_in_one_line_and_the_run_goes_on_once_there_is_room(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the system refuses to write, in whatever process."""
    words = ["bench", *GRID, "--fusion", "plain-mean,mlp"]
    (tmp_path / "faults.py").write_text("", encoding="utf-8")
    done = forked(tmp_path, *words, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (24 * 1024, 24 * 1024)))
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(r"embeddings/.* cannot be written: File too large \(finished work is saved", last)
    assert "Traceback" not in done.stderr
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
    for out in ("out", "fresh"):
        assert bench(tmp_path, "--fusion", "plain-mean,mlp", "--executor", "serial", "--out", out).returncode == 0
    assert stored(tmp_path, "out") == stored(tmp_path, "fresh")
