"""Who does the work: this process, or a pool of processes. All of them compute the same bits, with one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    TimeoutError,  # noqa: A004
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from fusionkit.grid import last_words
from fusionkit.grid.memory import share
from fusionkit.grid.pool_worker import Order, load_libraries, work
from fusionkit.grid.tasks import Code, Failure, Task, attempt

if TYPE_CHECKING:
    from pebble import ProcessPool

Results = Iterator[tuple[Task, Failure | None]]

_TICK = 1.0  # s between looks for processes that are gone without a word
_GRACE = 3.0  # s in which the pool tells of a process that died with an error
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Executor(Protocol):
    """Does tasks, in any order, and tells of each when it is over."""

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Results:
        """Do every task.

        Args:
            tasks: what to do.
            advance: told of steps within a task, where the executor can see them.

        Yields:
            Each task with its failure, or None.
        """
        ...


class Serial:
    """One task after the other, in this process."""

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Results:
        """Do every task."""
        for task in tasks:
            live = _Live(advance)
            failure = attempt(task, live)
            advance(task.steps - live.steps)
            yield task, failure


class _Live:
    """Passes steps on and counts them."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance = advance
        self.steps = 0

    def __call__(self, count: int) -> None:
        self.steps += count
        self.advance(count)


class Processes:
    """A pool of spawned processes.

    A process that dies or takes too long loses its own task only: the pool replaces it. A task whose process was lost,
    or that ran out of memory, is tried once more, alone.

    Args:
        workers: processes at most.
        timeout: seconds that one task may take; None for no limit.
        code: what each process imports first.
        memory: GiB that each process may use; 0 for no limit, None for its share of what the machine has available.
        gpus: that the processes share, as ``CUDA_VISIBLE_DEVICES`` names them; each process sees one of them.
    """

    def __init__(
        self,
        workers: int,
        timeout: float | None,
        code: Code,
        memory: float | None = None,
        gpus: tuple[str, ...] = (),
    ) -> None:
        self.workers = workers
        self.timeout = timeout
        self.code = code
        self.memory = memory
        self.gpus = gpus

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Results:
        """Do every task; steps are told of when a task is over."""
        again: list[Task] = []
        for task, failure in self._round(tasks, min(self.workers, len(tasks))):
            if failure and failure.retryable:
                again.append(task)
            else:
                advance(task.steps)
                yield task, failure
        for task in again:  # a pool each: a process that one of them has spoilt must not cost the next its only try
            for _, failure in self._round([task], 1):
                advance(task.steps)
                yield task, failure

    def _round(self, tasks: Sequence[Task], workers: int) -> Results:
        with TemporaryDirectory(prefix="fusionkit-", ignore_cleanup_errors=True) as desk:
            order = Order(self.code, Path(desk), workers, self._ceiling(workers), self.gpus)
            yield from _Round(tasks, order, self.timeout).run()

    def _ceiling(self, workers: int) -> float | None:
        if self.memory is None and self.gpus:
            return None  # the driver of a GPU takes address space far beyond what it uses
        return share(workers) if self.memory is None else self.memory or None


class _Round:
    """Some tasks in a pool of their own."""

    def __init__(self, tasks: Sequence[Task], order: Order, timeout: float | None) -> None:
        self.waiting = deque(enumerate(tasks))
        self.order = order
        self.timeout = timeout
        self.out: dict[Future[Failure | None], tuple[int, Task]] = {}
        self.suspects: dict[int, float] = {}  # since when the process of a task seems to be gone
        self.looked = 0.0

    def run(self) -> Results:
        from pebble import ProcessPool

        context: Any = _KeepingLocks(multiprocessing.get_context("spawn"))
        with _one_thread_each():
            # A process loads the libraries before it takes a task: that neither counts as the task's time, nor happens
            # under the lock beneath which tasks are taken, one process after the other.
            pool = ProcessPool(max_workers=self.order.workers, context=context, initializer=load_libraries)
            try:
                while self.waiting or self.out:
                    self._send(pool)
                    done, _ = wait(self.out, timeout=_TICK, return_when=FIRST_COMPLETED)
                    for future in done:
                        number, task = self.out.pop(future)
                        yield task, self._outcome(future, number)
                    for future in self._vanished():
                        number, task = self.out.pop(future)
                        future.cancel()
                        yield task, self._died(0, number)
                pool.close()  # type: ignore[no-untyped-call]
            except BaseException:
                pool.stop()  # type: ignore[no-untyped-call]
                raise
            finally:
                pool.join()

    def _send(self, pool: ProcessPool) -> None:
        """Keep a task ready for each process beside the one that it is at."""
        with _uninterrupted():
            while self.waiting and len(self.out) < 2 * self.order.workers:
                number, task = self.waiting.popleft()
                future: Future[Failure | None] = Future()
                try:
                    future = pool.schedule(work, args=[task, self.order, number], timeout=self.timeout)
                except RuntimeError as error:  # a pool that is lost takes no more
                    future.set_exception(BrokenProcessPool(str(error)))
                self.out[future] = number, task

    def _vanished(self) -> list[Future[Failure | None]]:
        """Tasks whose process has ended itself without an error, which the pool does not tell of."""
        now = time.monotonic()
        if now - self.looked < _TICK:
            return []
        self.looked = now
        seen = {number for number, _ in self.out.values() if last_words.abandoned(self.order.words(number))}
        self.suspects = {number: self.suspects.get(number, now) for number in seen}
        gone = {number for number, since in self.suspects.items() if now - since > _GRACE}
        return [future for future, (number, _) in self.out.items() if number in gone and not future.done()]

    def _outcome(self, future: Future[Failure | None], number: int) -> Failure | None:
        from pebble import ProcessExpired

        try:
            return future.result()
        except TimeoutError:
            assert self.timeout is not None
            return Failure.late(self.timeout, last_words.read(self.order.words(number)))
        except ProcessExpired as error:
            return self._died(error.exitcode, number)
        except CancelledError:
            return Failure("cancelled", "cancelled")
        except BrokenProcessPool as error:
            return replace(Failure.of(error), retryable=True)
        except Exception as error:  # noqa: BLE001  (the work could not be sent, or its answer not read)
            return Failure.of(error)

    def _died(self, exitcode: int, number: int) -> Failure:
        return Failure.died(exitcode, last_words.read(self.order.words(number)), self.order.memory)


class _KeepingLocks:
    """A context whose locks live as long as it does.

    The pool lets go of its lock before it ends its processes: one that is just starting would not find the lock any
    more, and say so with a traceback.
    """

    def __init__(self, context: Any) -> None:
        self.context = context
        self.locks: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)

    def RLock(self) -> Any:  # noqa: N802  (as multiprocessing calls it)
        self.locks.append(self.context.RLock())
        return self.locks[-1]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Spawned processes inherit the environment; native libraries read it before any of our code runs."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """An interrupt is the parent's to handle, even while a new process is still importing.

    Threads and processes that start in here inherit that interrupts are held back from them.
    """
    resource_tracker.ensure_running()  # where it first starts, it lets interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def can_spawn() -> bool:
    """Whether a spawned process could import the main module without running it again.

    A notebook or an interactive session has no file to import; a script without ``if __name__ == "__main__"`` would
    start the same work again.
    """
    main = sys.modules.get("__main__")
    if getattr(main, "__spec__", None) is not None:
        return True  # python -m: spawned processes do not run it as the main module
    file = getattr(main, "__file__", None)
    if file is None:
        return False
    try:
        return "__main__" in Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return True  # not Python source: a frozen or zipped entry point, which guards itself
