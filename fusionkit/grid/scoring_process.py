"""Scoring in a process of its own: a smoother that crashes, hangs or takes all memory loses the cell that it was at.

The process is forked: it has all that scoring needs, the sealed test labels too, and nothing but steps comes back. One
is enough as long as none dies; where one does, another goes on.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from fusionkit.grid.executors import OUT_OF_MEMORY, can_spawn, read_stderr, recorded_stderr
from fusionkit.grid.memory import feature_limit, memory_exhausted, set_ceiling, share
from fusionkit.grid.scoring import Scoring, Step
from fusionkit.grid.tasks import Failure, one_line

_TICK = 1.0  # s between looks whether the process is still there
_GLANCE = 0.005  # s, the same while it is about to end
_PATIENCE = 0.5  # s in which a process may come to the end of its cell, before it is interrupted
_GRACE = 3.0  # s that a process has to give back its lease, or to write down where it hangs
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl


def can_fork(*, clustered: bool) -> bool:
    """Whether a copy of this process would work: on Linux, unless a GPU is in use, or a notebook's threads run.

    Args:
        clustered: the work is done by Ray, so that this process is the driver of a script.
    """
    torch: Any = sys.modules.get("torch")
    return sys.platform == "linux" and not (torch and torch.cuda.is_initialized()) and (clustered or can_spawn())


class ScoringProcess:
    """A context that gives the steps of scoring, as :meth:`Scoring.steps` does, from another process.

    Args:
        scoring: what to do.
        timeout: seconds that one cell may take; None for no limit.
        memory: GiB that the process may use; 0 for no limit, None for most of what the machine has available.
    """

    def __init__(self, scoring: Scoring, timeout: float | None, memory: float | None) -> None:
        self.scoring = scoring
        self.timeout = timeout
        self.memory = share(1) if memory is None else memory or None
        self.row = 0
        # Of this row: the cell that is being made, how many were scored, which failed.
        self.cell, self.scored, self.failed = "", 0, set[str]()

    def __enter__(self) -> Iterator[Step]:
        self.desk = TemporaryDirectory(prefix="fusionkit-", ignore_cleanup_errors=True)
        self.words = Path(self.desk.name) / "words"
        self.child = self._fork()
        return self._steps()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.child.stop()
        finally:
            self.desk.cleanup()

    def _fork(self) -> _Child:
        with _forking():
            return _Child(self.scoring, self.row, frozenset(self.failed), self.words, self.timeout, self.memory)

    def _steps(self) -> Iterator[Step]:
        while True:
            stood = self.scored  # to the process that comes now, these stand ready
            for step in self.child.steps():
                yield self._noted(step, stood)
            if self.row == len(self.scoring.rows):
                return
            yield from self._lost(self.child.stop())
            if self.row == len(self.scoring.rows):
                return
            self.words.unlink(missing_ok=True)
            self.child = self._fork()

    def _noted(self, step: Step, stood: int = 0) -> Step:
        self.cell = step.cell if step.state == "begun" else ""
        if step.state == "scored":
            self.scored += 1
        elif step.state == "failed":
            self.failed.add(step.cell)
        elif step.state == "over":
            self.row, self.scored, self.failed = step.row + 1, 0, set()
            return Step(step.row, "over", reused=max(step.reused - stood, 0))
        return step

    def _lost(self, exitcode: int) -> Iterator[Step]:
        """What a process could not do before it died: the cell it was at, else its row."""
        if self.cell:
            words = read_stderr(self.words)
            late = self.child.late and self.timeout
            failure = Failure.late(late, words) if late else Failure.died(exitcode, words, self.memory)
            yield self._noted(Step(self.row, "failed", self.cell, failure))
        elif exitcode != OUT_OF_MEMORY and not self.child.late:
            row = self.scoring.rows[self.row]
            for cell in dict.fromkeys(map(row.cell_id, row.heads)):
                if cell not in self.failed and self.scoring.heads.folder.read_cell(cell) is None:
                    yield self._noted(Step(self.row, "failed", cell, Failure.died(exitcode, "", self.memory)))
            yield self._noted(Step(self.row, "over"))


class _Child:
    """The process, as its parent sees it."""

    def __init__(
        self,
        scoring: Scoring,
        row: int,
        skip: frozenset[str],
        words: Path,
        timeout: float | None,
        memory: float | None,
    ) -> None:
        context = multiprocessing.get_context("fork")
        self.receiver, sender = context.Pipe(duplex=False)
        self.timeout = timeout
        self.late = False
        self.until: float | None = None
        # Not a daemon: a smoother may start processes.
        arguments = (scoring, row, skip, words, memory, self.receiver, sender, os.getpid())
        self.process = context.Process(target=_work, args=arguments, name="fusionkit-score")
        self.process.start()
        sender.close()

    def steps(self) -> Iterator[Step]:
        """What it tells, until it is gone.

        Raises:
            BaseException: what ended the process, where it could still say so.
        """
        while self._speaks():
            try:
                said = self.receiver.recv()
            except (EOFError, OSError):
                return
            if isinstance(said, BaseException):
                raise said
            begun = said.state == "begun"
            if begun and self.late:  # it was ended just after the cell that took so long
                continue
            self.until = time.monotonic() + self.timeout if begun and self.timeout is not None else None
            yield said

    def _speaks(self) -> bool:
        """Wait for the next step; whether there is one, or the end of them."""
        while not self.receiver.poll(self._patience()):
            if self.process.exitcode is not None:
                return self.receiver.poll()
            if self.until is not None and time.monotonic() >= self.until:
                self.late = True
                self._end(signal.SIGTERM)
        return True

    def _patience(self) -> float:
        return _TICK if self.until is None else min(_TICK, max(self.until - time.monotonic(), 0.0))

    def stop(self) -> int:
        """End it if it is not over; its exit code."""
        self.receiver.close()  # it ends by itself when it has something to say
        self._end(signal.SIGUSR1, _PATIENCE)
        assert self.process.exitcode is not None
        return self.process.exitcode

    def _end(self, politely: signal.Signals, patience: float = 0.0) -> None:
        """Ask it to end, and after a while make it."""
        try:
            if not self._ends_within(patience) and self.process.pid:
                os.kill(self.process.pid, politely)
                self._ends_within(_GRACE)
        finally:
            self.process.kill()
            self.process.join()

    def _ends_within(self, seconds: float) -> bool:
        # Not by joining: that waits for the end of a pipe, which a smoother can close or hand on.
        until = time.monotonic() + seconds
        while self.process.exitcode is None and time.monotonic() < until:
            time.sleep(_GLANCE)
        return self.process.exitcode is not None


@contextmanager
def _forking() -> Iterator[None]:
    """Interrupts wait meanwhile, and stay away from the process that is forked: they are its parent's to handle."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with warnings.catch_warnings():
            # Later Pythons warn of any other thread. Here those are libraries' and a progress bar's, whose locks the
            # forked process does not take; the lock of the leases is made anew.
            warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in the process ----------------------------------------------------------------------------------------------------


def _work(
    scoring: Scoring,
    row: int,
    skip: frozenset[str],
    words: Path,
    memory: float | None,
    receiver: Connection,
    sender: Connection,
    parent: int,
) -> None:
    """Score, and tell; never returns, so that nothing runs that the parent wants to be done at its own end."""
    code = 1
    try:
        receiver.close()
        _settle(parent, memory)
        with closing(scoring.steps(row, skip, partial(recorded_stderr, words))) as steps:
            code = _tell(steps, sender)
    except BaseException as error:  # noqa: BLE001  (the parent raises it)
        _tell_end(error, sender)
    finally:
        os._exit(code)


def _settle(parent: int, memory: float | None) -> None:
    """What a forked process has to make its own."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)  # in a smoother that hangs, nothing else would end it
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, _interrupted)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # not through the parent's progress bar
    set_ceiling(memory)
    feature_limit.cache_clear()  # it heeds the ceiling


def _interrupted(*_: object) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    raise KeyboardInterrupt


def _tell(steps: Iterator[Step], sender: Connection) -> int:
    """Send every step; the exit code."""
    try:
        for step in steps:
            sender.send(step)
            if step.state == "failed" and memory_exhausted():
                return OUT_OF_MEMORY
        return 0
    finally:
        with suppress(AttributeError, OSError, ValueError):  # a plugin may have closed it
            sys.stdout.flush()


def _tell_end(error: BaseException, sender: Connection) -> None:
    """Send what ended this process, with its traceback as a note."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    set_ceiling(None)
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (made here; an exception with arguments of its own may not load)
    except Exception:  # noqa: BLE001  (whatever a plugin's exception does when it is copied)
        error = RuntimeError(one_line(error))
    with suppress(OSError):  # the parent may have ended it, and not listen any more
        sender.send(error)
