"""Who does the work: this process, or a pool of processes. All of them compute the same bits, with one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, TimeoutError, as_completed  # noqa: A004
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Protocol

from fusionkit.grid.tasks import Code, Failure, Task, attempt, single_thread

Results = Iterator[tuple[Task, Failure | None]]
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
    """

    def __init__(self, workers: int, timeout: float | None, code: Code) -> None:
        self.workers = workers
        self.timeout = timeout
        self.code = code

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Results:
        """Do every task; steps are told of when a task is over."""
        again: list[Task] = []
        for task, failure in self._round(tasks, min(self.workers, len(tasks))):
            if failure and failure.retryable:
                again.append(task)
            else:
                advance(task.steps)
                yield task, failure
        for task in again:
            for _, failure in self._round([task], 1):
                advance(task.steps)
                yield task, failure

    def _round(self, tasks: Sequence[Task], workers: int) -> Results:
        from pebble import ProcessPool

        context = multiprocessing.get_context("spawn")
        with _one_thread_each():
            pool = ProcessPool(max_workers=workers, initializer=_prepare, initargs=(self.code,), context=context)
            try:
                with _uninterrupted():
                    futures: dict[Future[Failure | None], Task] = {
                        pool.schedule(_attempt, args=[task], timeout=self.timeout): task for task in tasks
                    }
                for future in as_completed(futures):
                    yield futures[future], self._outcome(future)
                pool.close()  # type: ignore[no-untyped-call]
            except BaseException:
                pool.stop()  # type: ignore[no-untyped-call]
                raise
            finally:
                pool.join()

    def _outcome(self, future: Future[Failure | None]) -> Failure | None:
        from pebble import ProcessExpired

        try:
            return future.result()
        except TimeoutError:
            message = f"took longer than {self.timeout:g} s (--cell-timeout) and was stopped"
            return Failure(message, message)
        except ProcessExpired as error:
            how = f"signal {-error.exitcode}" if error.exitcode < 0 else f"exit code {error.exitcode}"
            message = f"its process died ({how})"
            return Failure(message, message, retryable=True)
        except CancelledError:
            return Failure("cancelled", "cancelled")
        except Exception as error:  # noqa: BLE001  (the work could not be sent, or its answer not read)
            return Failure.of(error)


def _prepare(code: Code) -> None:
    """In a new process: one thread, and components must be known."""
    single_thread()
    code.load()


def _attempt(task: Task) -> Failure | None:
    return attempt(task, lambda _: None)


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
