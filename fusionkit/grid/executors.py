"""Who does the work: this process, or a pool of processes. All of them compute the same bits, with one thread each."""

from __future__ import annotations

import faulthandler
import fcntl
import multiprocessing
import os
import shutil
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, Protocol

from fusionkit.grid.memory import is_spoilt, set_ceiling, share
from fusionkit.grid.tasks import Code, Failure, Task, attempt, single_thread

if TYPE_CHECKING:
    from pebble import ProcessPool


FITS_A_GPU = 4  # heads are small: a few processes share a device better than one for each core would
_PATIENCE = 10.0  # s; the claim of a process that was killed is free as soon as the system has cleared it away

_held: list[IO[bytes]] = []


def gpus_of(device: str, visible: str | None, count: int) -> tuple[str, ...]:
    """The GPUs that a device stands for, each as ``CUDA_VISIBLE_DEVICES`` names it.

    Args:
        device: ``cpu``, ``cuda`` for all that are visible, ``cuda:1`` for one of them.
        visible: ``CUDA_VISIBLE_DEVICES`` of this process, or None if it is not set.
        count: how many devices this process sees.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return ()
    names = [name.strip() for name in visible.split(",")] if visible else [str(number) for number in range(count)]
    names = names[:count]
    return tuple(names) if not index else (names[int(index)],)


def visible_gpus(device: str) -> tuple[str, ...]:
    """:func:`gpus_of` this process."""
    if not device.startswith("cuda"):
        return ()
    import torch

    return gpus_of(device, os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())


def workers_on(gpus: tuple[str, ...], asked: int, cores: int, *, embedding: bool) -> int:
    """How many processes work at a time.

    Args:
        gpus: that they share; none on a CPU.
        asked: ``--workers``, 0 where it was not given.
        cores: of the machine.
        embedding: a backbone fills a GPU, so there is one process for each; heads share them.
    """
    if not gpus:
        return asked or cores
    if embedding:
        return min(asked, len(gpus)) if asked else len(gpus)
    return asked or min(cores, FITS_A_GPU * len(gpus))


def claim(desk: Path, workers: int, gpus: tuple[str, ...]) -> str:
    """The GPU of this process, for as long as it lives: places are dealt out to the GPUs in turn.

    A place is a locked file. The system gives it back when its holder dies, whatever kills it, so the process that
    comes instead of a lost one takes the same GPU.

    Args:
        desk: a folder that the workers share.
        workers: how many there are at a time.
        gpus: the GPUs.

    Raises:
        RuntimeError: if more processes ask than there are places.
    """
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for place in range(workers):
            file = (desk / f"gpu-{place}").open("a+b")
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            _held.append(file)
            return gpus[place % len(gpus)]
        time.sleep(0.05)
    raise RuntimeError(f"more than {workers} workers ask for a GPU")


_STDERR = 2
_MOST = 64 * 1024  # bytes that are kept of them


@contextmanager
def recorded_stderr(path: Path) -> Iterator[None]:
    """While it lasts, standard error goes to a file, with the Python stack if the process crashes or is ended.

    A process that lives passes on what was said, and removes the file. The file is locked meanwhile.
    """
    before = os.dup(_STDERR)
    with path.open("w+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        os.dup2(file.fileno(), _STDERR)
        faulthandler.enable(_STDERR)
        faulthandler.register(signal.SIGTERM, _STDERR, all_threads=True, chain=True)
        try:
            yield
        finally:
            with suppress(OSError, ValueError):  # a plugin may have closed it
                sys.stderr.flush()
            faulthandler.unregister(signal.SIGTERM)
            faulthandler.disable()
            os.dup2(before, _STDERR)
            os.close(before)
            path.unlink(missing_ok=True)
            file.seek(0)
            with os.fdopen(os.dup(_STDERR), "wb") as stream, suppress(OSError):
                shutil.copyfileobj(file, stream)


def read_stderr(path: Path) -> str:
    """What was recorded, the end of it if it is long."""
    try:
        return path.read_bytes()[-_MOST:].decode(errors="replace")
    except OSError:
        return ""


def is_abandoned(path: Path) -> bool:
    """Whether a file is there of which the writer is gone."""
    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # not there, or locked
        return False
    return True


SPOILT = 75  # exit code of a process that cannot get back the memory that a task took


@dataclass(frozen=True)
class Order:
    """What a worker is told beside its task.

    Attributes:
        code: to load.
        desk: a folder that the workers share with the driver.
        workers: how many there are at a time.
        memory: GiB that each may use; None for no limit.
        gpus: that they share, as ``CUDA_VISIBLE_DEVICES`` names them; none on a CPU.
    """

    code: Code
    desk: Path
    workers: int
    memory: float | None
    gpus: tuple[str, ...]

    def words(self, number: int) -> Path:
        """Where a task's process says its last words."""
        return self.desk / f"task-{number}"


def load_libraries() -> None:
    """Before the first task. What fails here fails again in a task, which can say so."""
    with suppress(Exception):
        single_thread()


def work(task: Task, order: Order, number: int) -> Failure | None:
    """Do a task.

    Args:
        task: what to do.
        order: what to know first.
        number: of the task, in its pool.
    """
    with recorded_stderr(order.words(number)):
        if is_spoilt():
            os._exit(SPOILT)  # the task goes to another process
        try:
            _settle(order)
        except BaseException as error:  # noqa: BLE001  (whatever a plugin raises while it is imported)
            return Failure.of(error)
        # Its GPU is the only one that this process sees.
        return attempt(replace(task, device="cuda:0") if order.gpus else task, lambda _: None)


@lru_cache(maxsize=1)
def _settle(order: Order) -> None:
    """Once a process."""
    if order.gpus:  # read when CUDA is first used, which importing torch is not
        os.environ["CUDA_VISIBLE_DEVICES"] = claim(order.desk, order.workers, order.gpus)
    set_ceiling(order.memory)
    single_thread()
    order.code.load()


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
        seen = {number for number, _ in self.out.values() if is_abandoned(self.order.words(number))}
        self.suspects = {number: self.suspects.get(number, now) for number in seen}
        gone = {number for number, since in self.suspects.items() if now - since > _GRACE}
        return [future for future, (number, _) in self.out.items() if number in gone and not future.done()]

    def _outcome(self, future: Future[Failure | None], number: int) -> Failure | None:
        from pebble import ProcessExpired

        try:
            return future.result()
        except TimeoutError:
            assert self.timeout is not None
            return Failure.late(self.timeout, read_stderr(self.order.words(number)))
        except ProcessExpired as error:
            return self._died(error.exitcode, number)
        except CancelledError:
            return Failure("cancelled", "cancelled")
        except BrokenProcessPool as error:
            return replace(Failure.of(error), retryable=True)
        except Exception as error:  # noqa: BLE001  (the work could not be sent, or its answer not read)
            return Failure.of(error)

    def _died(self, exitcode: int, number: int) -> Failure:
        return Failure.died(exitcode, read_stderr(self.order.words(number)), self.order.memory)


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
