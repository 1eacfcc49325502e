"""Scoring in a process of its own: whatever a smoother does stays with its cell, and nothing else changes."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from forked_command import forked
from rich.console import Console
from toy_components import carry_out, registered, toy_house, toy_plan  # noqa: F401

from fusionkit.cli.progress import BarProgress, LineProgress
from fusionkit.contracts import Smoother
from fusionkit.errors import CellError, StorageError
from fusionkit.grid import scoring
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import Plan
from fusionkit.grid.progress import Progress
from fusionkit.grid.run import Outcome, RunOptions
from fusionkit.grid.scoring import ScoringProcess, Step
from fusionkit.registry import SMOOTHERS
from fusionkit.storage.lease import STALE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("toy_house"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere scoring stays in the process"),
]

APART = RunOptions(executor="processes")


class Moody(Smoother):
    """Mixes in class shares; misbehaves while it is fitted for seed 1, and notes the process it runs in."""

    fitted: ClassVar[bool] = True
    act: ClassVar[str] = ""
    notes: ClassVar[Path]
    hoard: ClassVar[list[np.ndarray]] = []

    def fit(self, clips: Sequence[tuple[np.ndarray, np.ndarray]], labels: Sequence[np.ndarray], seed: int) -> None:
        with self.notes.open("a", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()}\n")
        known = np.concatenate(labels)
        self.share = np.bincount(known[known >= 0], minlength=3) / (known >= 0).sum()
        if seed == 1 and self.act:
            os.write(2, b"here it comes\n")
            getattr(self, self.act)()

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        return 0.8 * x + 0.2 * self.share

    def state(self) -> dict[str, np.ndarray]:
        return {"share": self.share}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.share = state["share"]

    def aborts(self) -> None:
        os.abort()

    def segfaults(self) -> None:
        ctypes.string_at(0)

    def exits(self) -> None:
        os._exit(3)

    def vanishes(self) -> None:
        os._exit(0)

    def hangs(self) -> None:
        self.notes.with_name("hanging").touch()
        time.sleep(600)

    def hangs_deaf(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
        time.sleep(600)

    def closes(self) -> None:
        os.closerange(3, 256)
        time.sleep(600)

    def leaves_a_child(self) -> None:
        if os.fork() == 0:
            self.notes.with_name("orphan").write_text(str(os.getpid()), encoding="utf-8")
            time.sleep(600)
        while not self.notes.with_name("orphan").exists():
            time.sleep(0.01)
        os.abort()

    def grows(self) -> None:
        while True:
            self.hoard.append(np.ones(2**20))

    def dies_of_memory(self) -> None:
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
        os.abort()

    def quits(self) -> None:
        sys.exit("enough")

    def fills_the_disk(self) -> None:
        raise StorageError("the disk is full", hint="make room")

    def interrupts(self) -> None:
        raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def moody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(scoring, "can_spawn", lambda: True)  # a worker of pytest-xdist looks like a notebook
    Moody.act, Moody.notes = "", tmp_path / "notes"
    with registered(SMOOTHERS, "toy-moody", Moody):
        yield


SMOOTHED = ("toy-moody", "toy-box:width=auto")


def trained(path: Path, **changes: Any) -> Plan:
    """A plan of which the heads are there: workers that are spawned would not know the toys."""
    carry_out(toy_plan(**{"smoothers": ["toy-plain"], "seeds": 3, **changes}), path)
    return toy_plan(**{"smoothers": ["toy-plain", *SMOOTHED], "seeds": 3, **changes})


def cells(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in (path / "cells").rglob("*") if file.is_file()}


def trace(path: Path, plan: Plan) -> str:
    row = next(row for row in plan.rows if row.axes.smoother == "toy-moody")
    (cell,) = {row.cell_id(head) for head in row.heads if head.seed == 1}
    return RunFolder(path).failure_trace(cell)


def processes() -> list[int]:
    """Those that smoothers ran in, each once, in order."""
    return [int(line) for line in dict.fromkeys(Moody.notes.read_text(encoding="utf-8").split())]


def nothing_is_left(path: Path) -> bool:
    half = [file for file in path.rglob(".*") if file.name != ".lock"]
    return not half and not [file for file in path.rglob("leases/*") if file.is_file()]


class Counting(Progress):
    """Counts steps, keeps failures, and presses Ctrl-C at the n-th step."""

    def __init__(self, at: int = 0) -> None:
        self.steps, self.at, self.messages = 0, at, list[str]()

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        self.step()
        yield

    def advance(self, count: int = 1) -> None:
        self.step()

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise KeyboardInterrupt

    def failed(self, name: str, message: str) -> None:
        self.messages.append(f"{name}: {message}")


def tame(path: Path, **changes: Any) -> tuple[Plan, Outcome, dict[str, bytes]]:
    """What scoring in this process gives where nothing misbehaves."""
    plan = trained(path, **changes)
    outcome, _ = carry_out(plan, path)
    return plan, outcome, cells(path)


def test_one_process_scores_all_to_the_same_bytes(tmp_path: Path) -> None:
    _, inside, expected = tame(tmp_path / "inside")
    assert processes() == [os.getpid()]
    Moody.notes.unlink()
    plan = trained(tmp_path / "apart")
    progress = Counting()
    outcome, _ = carry_out(plan, tmp_path / "apart", APART, progress)
    assert cells(tmp_path / "apart") == expected
    assert len(expected) == 18 * 3 + 6  # and what the fitted ones have learned
    assert (outcome.scored, outcome.reused, outcome.failed) == (12, 6, {})
    assert outcome == inside
    assert progress.steps == 1 + 6
    assert len(processes()) == 1
    assert processes() != [os.getpid()]
    again, _ = carry_out(plan, tmp_path / "apart", APART)
    assert (again.scored, again.reused) == (0, 18)
    assert multiprocessing.active_children() == []


CEILING = "ran out of the 0.5 GiB that a worker may use (--worker-memory)"
DEATHS = {
    "aborts": ("its process died (signal 6)", "in aborts"),
    "segfaults": ("its process died (signal 11)", "Fatal Python error: Segmentation fault"),
    "exits": ("its process died (exit code 3)", "here it comes"),
    "vanishes": ("its process died (exit code 0)", "here it comes"),
    "closes": ("its process died (exit code 1)", "here it comes"),
    "leaves_a_child": ("its process died (signal 6)", "in leaves_a_child"),
    "dies_of_memory": (f"{CEILING}, and its process died (signal 6)", "bad_alloc"),
    "hangs": ("took longer than 4 s (--cell-timeout) and was stopped", "in hangs"),
    "hangs_deaf": ("took longer than 4 s (--cell-timeout) and was stopped", "here it comes"),
}


@pytest.mark.parametrize("act", DEATHS)
def test_a_death_loses_its_own_cell_only(tmp_path: Path, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_GRACE", 0.5 if act == "hangs_deaf" else 30.0)
    _, _, expected = tame(tmp_path / "tame", reference="none")
    Moody.notes.unlink()
    Moody.act = act
    path = tmp_path / "run"
    plan, progress = trained(path, reference="none"), Counting()
    options = RunOptions(executor="processes", cell_timeout=4.0 if "hangs" in act else 300.0, worker_memory=0.5)
    outcome, _ = carry_out(plan, path, options, progress)
    message, detail = DEATHS[act]
    name = "face,bottom/toy-sum/toy-moody"
    assert outcome.failed == {f"{name}/1": message}
    assert progress.messages == [f"{name}: {message}"]
    assert progress.steps == 1 + len(plan.rows)
    assert (outcome.scored, outcome.reused) == (5, 3)
    assert trace(path, plan).startswith(message + "\n\n")
    assert detail in trace(path, plan)
    found = cells(path)
    assert len(found) == len(expected) - 4
    assert found == {name: data for name, data in expected.items() if name in found}
    assert len(processes()) == 2
    assert nothing_is_left(path)
    Moody.act = ""
    outcome, _ = carry_out(plan, path, options)
    assert (outcome.scored, outcome.reused, outcome.failed) == (1, 8, {})
    assert cells(path) == expected
    with suppress(FileNotFoundError):
        os.kill(int((tmp_path / "orphan").read_text(encoding="utf-8")), signal.SIGKILL)


@pytest.mark.parametrize("drawn", [BarProgress, LineProgress])
def test_progress_is_drawn_on_when_a_process_died(tmp_path: Path, drawn: type[BarProgress | LineProgress]) -> None:
    Moody.act = "aborts"
    plan, screen = trained(tmp_path / "run", reference="none"), StringIO()
    carry_out(plan, tmp_path / "run", APART, drawn(Console(file=screen, force_terminal=True, width=100)))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "failed face,bottom/toy-sum/toy-moody: its process died (signal 6)" in text
    assert "3/3 rows" in text[text.index("signal 6") :]


def test_memory_that_is_not_given_back_loses_its_own_cell_only(tmp_path: Path) -> None:
    _, _, expected = tame(tmp_path / "tame", reference="none")
    Moody.notes.unlink()
    Moody.act = "grows"
    plan = trained(tmp_path / "run", reference="none")
    outcome, _ = carry_out(plan, tmp_path / "run", RunOptions(executor="processes", worker_memory=0.5))
    (message,) = outcome.failed.values()
    assert message.startswith(CEILING)
    assert "Unable to allocate 8.00 MiB" in message
    assert (outcome.scored, outcome.reused) == (5, 3)
    found = cells(tmp_path / "run")
    assert found == {name: data for name, data in expected.items() if name in found}
    assert len(found) == len(expected) - 4
    assert len(processes()) == 2, "what comes next needs the memory"
    assert Moody.hoard == []


@pytest.mark.parametrize("options", [RunOptions(), APART], ids=["inside", "apart"])
def test_an_exception_stays_with_its_cell_and_keeps_the_process(tmp_path: Path, options: RunOptions) -> None:
    Moody.act = "quits"
    plan = trained(tmp_path / "run")
    outcome, _ = carry_out(plan, tmp_path / "run", options)
    assert set(outcome.failed.values()) == {"smoother Moody failed: SystemExit: enough"}
    assert len(outcome.failed) == 2
    assert trace(tmp_path / "run", plan).startswith("Traceback")
    assert (outcome.scored, outcome.reused) == (10, 6)
    assert len(processes()) == 1


@pytest.mark.parametrize("options", [RunOptions(), APART], ids=["inside", "apart"])
def test_a_disk_that_is_full_ends_the_run(tmp_path: Path, options: RunOptions) -> None:
    Moody.act = "fills_the_disk"
    plan = trained(tmp_path / "run")
    with pytest.raises(StorageError) as caught:
        carry_out(plan, tmp_path / "run", options)
    assert str(caught.value) == "the disk is full (make room)"
    assert nothing_is_left(tmp_path / "run")
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("act", ["quits", "aborts"])
def test_failing_fast_stops_at_the_first_failure(tmp_path: Path, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_PATIENCE", 60.0)
    Moody.act = act
    plan = trained(tmp_path / "run")
    message = {"quits": "smoother Moody failed: SystemExit: enough", "aborts": r"its process died \(signal 6\)"}[act]
    with pytest.raises(CellError, match=f"^face/linear/toy-moody: {message}$"):
        carry_out(plan, tmp_path / "run", RunOptions(executor="processes", fail_fast=True))
    assert len(processes()) == 1
    assert multiprocessing.active_children() == []
    stored = {name.split("/")[1] for name in cells(tmp_path / "run")}
    first = plan.rows[1]
    assert first.cell_id(first.heads[0]) in stored
    assert len(stored) == 6 + 1, "nothing was scored after it"
    if act == "quits":
        assert nothing_is_left(tmp_path / "run")


def test_an_interruption_at_any_step_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_PATIENCE", 60.0)  # the machine may be busy; no cell takes as long
    _, _, expected = tame(tmp_path / "whole", seeds=1)
    for at in range(1, 8, 2):
        path = tmp_path / f"run{at}"
        plan = trained(path, seeds=1)
        with pytest.raises(KeyboardInterrupt):
            carry_out(plan, path, APART, Counting(at))
        assert multiprocessing.active_children() == []
        assert nothing_is_left(path)
        outcome, _ = carry_out(plan, path, APART)
        assert outcome.failed == {}
        assert cells(path) == expected


def test_an_interrupt_does_not_wait_for_the_smoother(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while a cell is being made; the smoother is asked to end, and gives its lease back."""
    monkeypatch.setattr(scoring, "_GRACE", 60.0)
    Moody.act = "hangs"
    plan = trained(tmp_path / "run")

    def press() -> None:
        while not (tmp_path / "hanging").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, tmp_path / "run", APART)
    thread.join()
    assert time.monotonic() - began < 120
    assert multiprocessing.active_children() == []
    assert nothing_is_left(tmp_path / "run")


@pytest.mark.parametrize("options", [RunOptions(), APART], ids=["inside", "apart"])
def test_an_interrupt_that_a_smoother_raises_ends_its_own_cell(tmp_path: Path, options: RunOptions) -> None:
    Moody.act = "interrupts"
    plan = trained(tmp_path / "run")
    outcome, _ = carry_out(plan, tmp_path / "run", options)
    assert set(outcome.failed.values()) == {"smoother Moody failed: KeyboardInterrupt"}
    assert (len(outcome.failed), outcome.scored, outcome.reused) == (2, 10, 6)
    assert len(processes()) == 1


def test_the_process_does_not_outlive_the_run(tmp_path: Path) -> None:
    Moody.act = "hangs_deaf"
    plan = trained(tmp_path / "run")
    run = multiprocessing.get_context("fork").Process(target=carry_out, args=(plan, tmp_path / "run", APART))
    run.start()
    deadline = time.monotonic() + 300
    while not Moody.notes.exists() or len(Moody.notes.read_text(encoding="utf-8").split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.kill()
    run.join()
    (pid,) = processes()
    assert pid != run.pid
    while runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    Moody.act = ""
    began = time.monotonic()
    outcome, _ = carry_out(plan, tmp_path / "run", APART)
    assert outcome.failed == {}
    assert time.monotonic() - began < STALE, "the lease of a dead process is taken over at once"


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_where_a_process_cannot_be_forked_scoring_stays_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    carry_out(trained(tmp_path / "run"), tmp_path / "run", APART)
    assert processes() == [os.getpid()]


# -- the protocol, without a grid --------------------------------------------------------------------------------------


class Script:
    """Stands for :class:`fusionkit.grid.scoring.Scoring`: three rows of two cells, and what happens at a position.

    Cells that are done are files in a folder.
    """

    def __init__(self, done: Path, **acts: Callable[[], object]) -> None:
        self.done, self.acts = done, acts
        self.rows = [
            SimpleNamespace(heads=[f"{name}0", f"{name}1"], cell_id=lambda head: head) for name in ("a", "b", "c")
        ]
        self.heads = SimpleNamespace(folder=self)

    def read_cell(self, cell: str) -> str | None:
        return cell if (self.done / cell).exists() else None

    def act(self, position: str) -> None:
        self.acts.get(position, lambda: None)()

    def steps(self, first: int, skip: Any, watch: Any) -> Iterator[Step]:
        for number, row in enumerate(self.rows[first:], first):
            self.act(f"before_{row.heads[0]}")
            lacking = [cell for cell in row.heads if self.read_cell(cell) is None]
            for cell in lacking:
                if cell not in skip:
                    yield Step(number, "started", cell)
                    with watch():
                        self.act(cell)
                    (self.done / cell).touch()
                    yield Step(number, "scored", cell)
            yield Step(number, "finished", reused=2 - len(lacking))


def steps_of(script: Script, timeout: float | None = None) -> list[str]:
    """Every step as text, except that a cell has started."""
    process: AbstractContextManager[Iterator[Step]] = ScoringProcess(script, timeout, 0)  # type: ignore[arg-type]
    with process as steps:
        return [
            f"{'abc'[step.row]} {step.state} {step.cell}{step.reused or ''}".strip()
            for step in steps
            if step.state != "started"
        ]


WHOLE = [f"{row} {what}" for row in "abc" for what in (f"scored {row}0", f"scored {row}1", "finished")]


def test_all_steps_come_in_order(tmp_path: Path) -> None:
    (tmp_path / "b1").touch()
    assert steps_of(Script(tmp_path)) == [*WHOLE[:4], "b finished 1", *WHOLE[6:]]


def test_a_death_at_no_cell_fails_the_cells_that_are_lacking_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "b1").touch()
    assert steps_of(Script(tmp_path, before_b0=os.abort)) == [*WHOLE[:3], "b failed b0", "b finished", *WHOLE[6:]]


def test_the_last_row_may_die_too(tmp_path: Path) -> None:
    assert steps_of(Script(tmp_path, before_c0=os.abort)) == [*WHOLE[:6], "c failed c0", "c failed c1", "c finished"]
    found = steps_of(Script(tmp_path, c1=os.abort))
    assert found == ["a finished 2", "b finished 2", "c scored c0", "c failed c1", "c finished"]


def test_what_was_ended_just_as_it_finished_counts_as_done(tmp_path: Path) -> None:
    """The time of b0 is over, and it is done, and the next cell begun, before the process is gone."""

    def slow() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        while signal.SIGTERM not in signal.sigpending():
            time.sleep(0.01)

    def waits() -> None:
        if signal.SIGTERM in signal.sigpending():
            time.sleep(600)

    assert steps_of(Script(tmp_path, b0=slow, b1=waits), timeout=2.0) == WHOLE


def test_an_exception_outside_any_cell_is_raised_here_with_its_traceback(tmp_path: Path) -> None:
    class OddError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    def plain() -> None:
        raise ValueError("no such thing")

    def odd() -> None:
        raise OddError(1, 2)

    with pytest.raises(ValueError, match="no such thing") as caught:
        steps_of(Script(tmp_path, before_b0=plain))
    assert "in plain" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="OddError: 1 and 2"):
        steps_of(Script(tmp_path, before_b0=odd))


def test_words_of_an_earlier_death_are_not_repeated(tmp_path: Path) -> None:
    def speaks() -> None:
        os.write(2, b"words of b0")
        os._exit(1)

    def silent() -> None:
        signal.raise_signal(signal.SIGKILL)

    script = Script(tmp_path, b0=speaks, b1=silent)
    with ScoringProcess(script, None, 0) as steps:  # type: ignore[arg-type]
        failures = [step.failure for step in steps if step.failure]
    assert [failure.trace for failure in failures] == [
        "its process died (exit code 1)\n\nwords of b0\n",
        "its process died (signal 9)\n",
    ]


def test_what_a_smoother_prints_is_seen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def talks() -> None:
        sys.stdout.write("aloud\n")
        sys.stderr.write("to the side\n")

    assert steps_of(Script(tmp_path, b0=talks)) == WHOLE
    out, err = capfd.readouterr()
    assert "aloud" not in out  # results alone go there
    assert err.count("aloud") == err.count("to the side") == 1


def test_the_command_line_survives_a_smoother_that_aborts(tmp_path: Path) -> None:
    plugin = """
import os
from fusionkit.cli.progress import BarProgress, LineProgress
from fusionkit.contracts import Smoother
from fusionkit.registry import SMOOTHERS

@SMOOTHERS.register_module()
class Aborts(Smoother):
    def smooth(self, x, frame_numbers):
        os.abort()
"""
    (tmp_path / "bad.py").write_text(plugin, encoding="utf-8")
    words = ["--dataset", "synthetic:train=8,val=6,test=6,clips=2,clip_length=6", "--recipe", "epochs=1"]
    words += ["--regions", "eye", "--fusion", "plain-mean", "--seeds", "1", "--smoother", "aborts,window:width=auto"]
    words += ["--plugin", "bad.py", "--executor", "processes", "--workers", "1", "--out", "out"]
    done = forked(tmp_path, "bench", *words)
    assert done.returncode == 1, done.stderr
    assert "score: failed face,eye/plain-mean/aborts: its process died (signal 6)" in done.stderr
    assert "score: 4/4 rows" in done.stderr
    assert "2 cell(s) failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Fatal Python error" not in done.stderr
    assert (tmp_path / "out/results.csv").read_text(encoding="utf-8").count("window") == 2


def test_a_failure_in_either_process_reads_the_same(tmp_path: Path) -> None:
    trained(tmp_path / "run")
    both = []
    for options in (RunOptions(), APART):
        outcome, _ = carry_out(toy_plan(smoothers=["toy-grumpy"], seeds=3), tmp_path / "run", options)
        files = sorted((tmp_path / "run/failures").iterdir())
        both.append((outcome, [file.read_bytes() for file in files]))
    assert len(both[0][1]) == 6 * 2
    assert both[0] == both[1]
