"""Score the rows of a plan one after the other, in this process or in a forked one.

A smoother that crashes, hangs or takes all memory in the forked process loses only its own cell: another process is
forked and continues. A forked process has all that scoring needs, the sealed test labels too; only steps come back.
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
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Literal

from fusionkit.engine.embed import backbone_fact
from fusionkit.errors import StorageError, component_errors, watched_interrupts
from fusionkit.grid.executors import FORKS, OUT_OF_MEMORY, blocked_interrupts, can_spawn
from fusionkit.grid.memory import feature_limit, headroom, memory_exhausted, set_ceiling, share
from fusionkit.grid.output import bounded_output, read_stderr, recorded_stderr, stdout_to_stderr
from fusionkit.grid.plan import HeadWork, RowPlan
from fusionkit.grid.row import RowScorer, StoredHeads
from fusionkit.grid.tasks import Failure, one_line
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.storage.lease import waiting_lease

Watch = Callable[[], AbstractContextManager[None]]

_TICK = 1.0  # s between checks whether the process has ended
_SHORT_TICK = 0.005  # s, the same while it is being ended
_PATIENCE = 0.5  # s in which a process may finish its cell before it is interrupted
_GRACE = 3.0  # s that a process has to release its lease, or to write its stack
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux's prctl


@dataclass(frozen=True)
class Step:
    """Progress of scoring.

    Attributes:
        row: index of the row in the plan.
        state: ``started``, ``scored`` and ``failed`` are of a cell, ``finished`` is of a row.
        cell: id of the cell; empty for a row.
        failure: of a cell that failed.
        reused: number of stored cells of the row that were valid.
    """

    row: int
    state: Literal["started", "scored", "failed", "finished"]
    cell: str = ""
    failure: Failure | None = None
    reused: int = 0


@dataclass(frozen=True)
class Scoring:
    """Input of scoring.

    Attributes:
        rows: of the plan.
        entries: rows as in ``grid.json``, by id.
        heads: of the run's folder.
        store: of the embeddings.
        memory: GiB of features to hold; 0 for a share of the available memory.
        fail_fast: end at the first failure.
    """

    rows: Sequence[RowPlan]
    entries: Mapping[str, dict[str, Any]]
    heads: StoredHeads
    store: EmbeddingStore
    memory: float
    fail_fast: bool

    def steps(
        self, first: int = 0, skip: Collection[str] = (), watch: Watch = nullcontext
    ) -> Generator[Step, None, None]:
        """Score every cell that has no valid score. A failure stays with its cell.

        Args:
            first: index of the row to begin with.
            skip: ids of cells to leave out.
            watch: entered while a cell is scored.

        Raises:
            StorageError: if results cannot be written.
        """
        memory = feature_limit(self.memory, 1, "cpu")
        cost = cache(lambda spec: backbone_fact(spec, lambda backbone: backbone.cost()))
        for index, row in enumerate(self.rows[first:], first):
            costs = partial(_costs, row.heads[0], cost)
            scorer = RowScorer(row, self.entries[row.id], self.heads, self.store, costs, memory)
            for step in self._cells(index, scorer, skip, watch):
                yield step
                if step.failure and self.fail_fast:
                    return
            yield Step(index, "finished", reused=scorer.reused)

    def _cells(self, row: int, scorer: RowScorer, skip: Collection[str], watch: Watch) -> Iterator[Step]:
        with waiting_lease(self.heads.folder.path / "leases" / f"score-{self.rows[row].id}"):
            for cell, make in scorer.tasks():
                if cell in skip:
                    continue
                yield Step(row, "started", cell)
                with watch():
                    failure = _attempt(make)
                yield Step(row, "failed" if failure else "scored", cell, failure)


def _attempt(make: Callable[[], None]) -> Failure | None:
    """Score a cell. An exception becomes a failure, but for an interrupt by the user."""
    with bounded_output() as output:
        try:
            make()
        except StorageError:
            raise
        except component_errors() as error:
            with headroom():
                return Failure.of(error, output())
    return None


def _costs(head: HeadWork, cost: Callable[[Spec], tuple[int, float]]) -> tuple[int, float]:
    """(parameters, GFLOP) of the backbones behind a head: weights count once, work once per view."""
    backbones = [embedding.backbone for embedding in head.embeddings.values() if embedding.backbone]
    return sum(cost(spec)[0] for spec in set(backbones)), sum(cost(spec)[1] for spec in backbones)


# -- the forked process, in its parent ---------------------------------------------------------------------------------


def can_fork(*, clustered: bool) -> bool:
    """Return whether this process can be forked: on Linux, without a GPU in use, and not in a notebook.

    Args:
        clustered: whether Ray runs the tasks, so that this process is the driver of a script.
    """
    torch: Any = sys.modules.get("torch")
    return FORKS and not (torch and torch.cuda.is_initialized()) and (clustered or can_spawn())


class ScoringProcess:
    """Context that yields the steps of :meth:`Scoring.steps` from a forked process.

    Args:
        scoring: the input.
        timeout: seconds per cell; None for no limit.
        memory: GiB of the process; 0 for no limit, None for 90 % of the available memory.
    """

    def __init__(self, scoring: Scoring, timeout: float | None, memory: float | None) -> None:
        self.scoring = scoring
        self.timeout = timeout
        self.memory = share(1) if memory is None else memory or None
        self.row = 0
        # Of this row: the cell that is being scored, the number of scored cells, the failed ones.
        self.cell, self.scored, self.failed = "", 0, set[str]()

    def __enter__(self) -> Iterator[Step]:
        self.folder = TemporaryDirectory(prefix="fusionkit-", ignore_cleanup_errors=True)
        self.stderr = Path(self.folder.name) / "stderr"
        self.child = self._fork()
        return self._steps()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.child.stop()
        finally:
            self.folder.cleanup()

    def _fork(self) -> _Child:
        with forking():
            return _Child(self.scoring, self.row, frozenset(self.failed), self.stderr, self.timeout, self.memory)

    def _steps(self) -> Iterator[Step]:
        while True:
            before = self.scored  # by earlier processes: the new one counts these cells as reused
            for step in self.child.steps():
                yield self._tracked(step, before)
            if self.row == len(self.scoring.rows):
                return
            yield from self._lost(self.child.stop())
            if self.row == len(self.scoring.rows):
                return
            self.stderr.unlink(missing_ok=True)
            self.child = self._fork()

    def _tracked(self, step: Step, before: int = 0) -> Step:
        self.cell = step.cell if step.state == "started" else ""
        if step.state == "scored":
            self.scored += 1
        elif step.state == "failed":
            self.failed.add(step.cell)
        elif step.state == "finished":
            self.row, self.scored, self.failed = step.row + 1, 0, set()
            return Step(step.row, "finished", reused=max(step.reused - before, 0))
        return step

    def _lost(self, exitcode: int) -> Iterator[Step]:
        """Steps for a process that died: its cell failed; outside any cell, those of its row that have no score."""
        if self.cell:
            stderr, late = read_stderr(self.stderr), self.child.late and self.timeout
            failure = Failure.late(late, stderr) if late else Failure.died(exitcode, stderr, self.memory)
            yield self._tracked(Step(self.row, "failed", self.cell, failure))
        elif exitcode != OUT_OF_MEMORY and not self.child.late:
            row = self.scoring.rows[self.row]
            for cell in dict.fromkeys(map(row.cell_id, row.heads)):
                if cell not in self.failed and self.scoring.heads.folder.read_cell(cell) is None:
                    yield self._tracked(Step(self.row, "failed", cell, Failure.died(exitcode, "", self.memory)))
            yield self._tracked(Step(self.row, "finished"))


class _Child:
    """Handle of a forked process."""

    def __init__(
        self,
        scoring: Scoring,
        row: int,
        skip: frozenset[str],
        stderr: Path,
        timeout: float | None,
        memory: float | None,
    ) -> None:
        context = multiprocessing.get_context("fork")
        self.receiver, sender = context.Pipe(duplex=False)
        self.timeout = timeout
        self.late = False
        self.deadline: float | None = None
        # Not a daemon: a smoother may start processes.
        arguments = (scoring, row, skip, stderr, memory, self.receiver, sender, os.getpid())
        self.process = context.Process(target=_run_child, args=arguments, name="fusionkit-score")
        self.process.start()
        sender.close()

    def steps(self) -> Iterator[Step]:
        """Yield its steps until it has ended.

        Raises:
            BaseException: the error that ended the process, if it could be sent.
        """
        while self._readable():
            try:
                received = self.receiver.recv()
            except (EOFError, OSError):
                return
            if isinstance(received, BaseException):
                raise received
            started = received.state == "started"
            if started and self.late:  # it was ended just after the cell that took too long
                continue
            self.deadline = time.monotonic() + self.timeout if started and self.timeout is not None else None
            yield received

    def _readable(self) -> bool:
        """Wait for a step or the end of the pipe. Returns False if the process has ended without either."""
        while not self.receiver.poll(self._wait_time()):
            if self.process.exitcode is not None:
                return self.receiver.poll()
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.late = True
                self._end(signal.SIGTERM)
        return True

    def _wait_time(self) -> float:
        return _TICK if self.deadline is None else min(_TICK, max(self.deadline - time.monotonic(), 0.0))

    def stop(self) -> int:
        """End the process if it is running, and return its exit code."""
        self.receiver.close()  # it ends by itself at its next step
        self._end(signal.SIGUSR1, _PATIENCE)
        assert self.process.exitcode is not None
        return self.process.exitcode

    def _end(self, request: signal.Signals, patience: float = 0.0) -> None:
        """Wait, then send a signal, then kill."""
        try:
            if not self._ends_within(patience) and self.process.pid:
                os.kill(self.process.pid, request)
                self._ends_within(_GRACE)
        finally:
            self.process.kill()
            self.process.join()

    def _ends_within(self, seconds: float) -> bool:
        # Not by joining: that waits for the end of a pipe, which a smoother can close or pass on.
        deadline = time.monotonic() + seconds
        while self.process.exitcode is None and time.monotonic() < deadline:
            time.sleep(_SHORT_TICK)
        return self.process.exitcode is not None


@contextmanager
def forking() -> Iterator[None]:
    """Leave interrupts to the parent, and silence the warning of later Pythons about other threads.

    Those are of libraries and of a progress bar. The forked process does not take their locks, and it has a new lock
    for its leases.
    """
    with blocked_interrupts(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        yield


# -- in the forked process ---------------------------------------------------------------------------------------------


def _run_child(
    scoring: Scoring,
    row: int,
    skip: frozenset[str],
    stderr: Path,
    memory: float | None,
    receiver: Connection,
    sender: Connection,
    parent: int,
) -> None:
    """Score and send steps. Never returns, so that nothing runs that the parent has registered for its own end."""
    code = 1
    try:
        receiver.close()
        set_up_fork(parent, memory)
        with (
            watched_interrupts(signal.SIGUSR1),
            closing(scoring.steps(row, skip, partial(recorded_stderr, stderr))) as steps,
        ):
            code = _send(steps, sender)
    except BaseException as error:  # noqa: BLE001  (the parent raises it)
        _send_error(error, sender)
    finally:
        os._exit(code)


def set_up_fork(parent: int, memory: float | None) -> None:
    """Set the signals, streams and limits that a forked process does not share with its parent."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)  # nothing else would end a smoother that hangs
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, _interrupt)
    stdout_to_stderr()
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # not through the parent's progress bar
    set_ceiling(memory)
    feature_limit.cache_clear()  # it depends on the ceiling


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    raise KeyboardInterrupt


def _send(steps: Iterator[Step], sender: Connection) -> int:
    """Send every step, and return the exit code."""
    try:
        for step in steps:
            sender.send(step)
            if step.state == "failed" and memory_exhausted():
                return OUT_OF_MEMORY
        return 0
    finally:
        with suppress(AttributeError, OSError, ValueError):  # a plugin may have closed it
            sys.stdout.flush()


def _send_error(error: BaseException, sender: Connection) -> None:
    """Send the error that ends this process, with its traceback as a note."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    set_ceiling(None)
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (made here; an exception with arguments of its own may not load)
    except Exception:  # noqa: BLE001  (whatever a plugin's exception does when it is copied)
        error = RuntimeError(one_line(error))
    with suppress(OSError):  # the parent may have closed the pipe
        sender.send(error)
