"""Executors: run tasks in this process or in a pool of processes. Results are identical: every process uses one thread.

Importing this module imports no torch: a spawned process imports it before it takes its first task.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    TimeoutError,  # noqa: A004
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from fusionkit.errors import interrupted, watched_interrupts
from fusionkit.grid.memory import memory_exhausted, set_ceiling, share
from fusionkit.grid.output import is_abandoned, read_stderr, recorded_stderr, stdout_to_stderr
from fusionkit.grid.tasks import Code, Failure, Task, attempt, single_thread
from fusionkit.storage.lease import lease

if TYPE_CHECKING:
    from pebble import ProcessPool

OUT_OF_MEMORY = 75  # exit code of a process that cannot free the memory that a task took
_HEADS_PER_GPU = 4  # heads are small: a few processes share a device better than one for each core would
_EMBEDDERS_PER_GPU = 8  # a process decodes and cuts 1,000 to 3,000 faces per second, a GPU embeds 10,000
_CORES_PER_EMBEDDER = 2  # one decodes, one cuts and launches
_GIB_PER_EMBEDDER = 4  # of the GPU's memory: libraries, a backbone and a batch
_NVIDIA_SMI = 20.0  # s to wait for an answer
_CLAIM_TIMEOUT = 10.0  # s; a killed process takes a moment to end
_TICK = 1.0  # s between checks for processes that have ended without an error
_GRACE = 3.0  # s in which the pool reports a process that died with an error
FORKS = sys.platform == "linux" and hasattr(os, "fork")  # elsewhere, forking is not safe once torch is loaded
_PRELOADED = ["fusionkit.engine.fit", "fusionkit.engine.embed", "torch._dynamo"]  # the last one by torch's optimisers
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Results = Iterator[tuple[Task, Failure | None]]


class Executor(Protocol):
    """Runs tasks in any order."""

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Results:
        """Run every task.

        Args:
            tasks: to run.
            advance: called with the number of steps done; within a task too, if the executor can observe them.

        Yields:
            Each task when it has ended, with its failure or None.
        """
        ...


class Serial:
    """Runs one task after the other in this process."""

    def run(self, tasks: Sequence[Task], advance: Callable[[int], None]) -> Results:
        """Run every task; steps are reported as they are done."""
        for task in tasks:
            done = 0

            def step(count: int) -> None:
                nonlocal done
                done += count
                try:
                    advance(count)
                except KeyboardInterrupt:  # of the caller
                    interrupted()
                    raise

            failure = attempt(task, step)
            advance(task.steps - done)
            yield task, failure


class Processes:
    """Runs tasks in a pool of processes with fresh interpreters.

    A process that dies or exceeds the timeout loses only its own task, and is replaced. A task is retried once, alone,
    if its process died or if it ran out of memory.

    Args:
        workers: maximum number of processes.
        timeout: seconds per task; None for no limit.
        code: imported first by each process.
        memory: GiB per process; 0 for no limit, None for an equal share of the available memory.
        gpus: shared by the processes, as ``CUDA_VISIBLE_DEVICES`` names them; each process sees one.
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
        """Run every task; its steps are reported when it has ended."""
        again: list[Task] = []
        for task, failure in self._in_pool(tasks, min(self.workers, len(tasks))):
            if failure and failure.retryable:
                again.append(task)
            else:
                advance(task.steps)
                yield task, failure
        for task in again:  # a pool each: a process without memory must not cost the next task its only retry
            for _, failure in self._in_pool([task], 1):
                advance(task.steps)
                yield task, failure

    def _in_pool(self, tasks: Sequence[Task], workers: int) -> Results:
        with TemporaryDirectory(prefix="fusionkit-", ignore_cleanup_errors=True) as folder:
            setup = WorkerSetup(self.code, Path(folder), workers, self._ceiling(workers), self.gpus)
            yield from _Pool(tasks, setup, self.timeout).run()

    def _ceiling(self, workers: int) -> float | None:
        if self.memory is None and self.gpus:
            return None  # the driver of a GPU takes address space far beyond what it uses
        return share(workers) if self.memory is None else self.memory or None


def can_spawn() -> bool:
    """Return whether a spawned process could import the main module without repeating its work.

    A notebook or an interactive session has no file to import. A script without ``if __name__ == "__main__"`` would
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


# -- GPUs --------------------------------------------------------------------------------------------------------------


def visible_gpus(device: str) -> tuple[str, ...]:
    """Return :func:`gpus_of` for this process."""
    if not device.startswith("cuda"):
        return ()
    import torch

    return gpus_of(device, os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())


def gpus_of(device: str, visible: str | None, count: int) -> tuple[str, ...]:
    """Return the GPUs of a device, each as ``CUDA_VISIBLE_DEVICES`` names it.

    Args:
        device: ``cpu``; ``cuda`` for all visible GPUs; ``cuda:1`` for one of them.
        visible: ``CUDA_VISIBLE_DEVICES`` of this process; None if it is not set.
        count: number of devices that this process sees.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return ()
    names = [name.strip() for name in visible.split(",")] if visible else [str(number) for number in range(count)]
    names = names[:count]
    return tuple(names) if not index else (names[int(index)],)


def free_gpu_memory(gpus: tuple[str, ...]) -> float:
    """Return the GiB that each of some GPUs has free, by ``nvidia-smi``: asking CUDA would take memory of the GPU.

    Args:
        gpus: as ``CUDA_VISIBLE_DEVICES`` names them.

    Returns:
        0 without GPUs, where ``nvidia-smi`` gives no answer, and where a GPU allows one process only.
    """
    if not gpus:
        return 0.0
    command = ["nvidia-smi", "--query-gpu=memory.free,compute_mode", "--format=csv,noheader,nounits"]
    command.append(f"--id={','.join(gpus)}")
    try:
        answer = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=_NVIDIA_SMI, check=True)  # noqa: S603
        found = [line.split(", ") for line in answer.stdout.splitlines()]
        return min(float(free) if mode == "Default" else 0.0 for free, mode in found) / 1024
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0.0


def workers_on(gpus: tuple[str, ...], asked: int, cores: int, *, free: float = 0.0, embedding: bool) -> int:
    """Return the number of concurrent processes.

    Args:
        gpus: shared by the processes; empty on a CPU.
        asked: ``--workers``; 0 if it was not given.
        cores: of the machine.
        free: GiB that each GPU has free.
        embedding: as many processes per GPU as cores and its memory allow, up to eight, since one does not decode and
            cut as fast as a GPU embeds; heads share a GPU.
    """
    if not gpus:
        return asked or cores
    if embedding:
        by_cores, by_memory = cores // (_CORES_PER_EMBEDDER * len(gpus)), int(free / _GIB_PER_EMBEDDER)
        most = len(gpus) * max(min(_EMBEDDERS_PER_GPU, by_cores, by_memory), 1)
        return min(asked, most) if asked else most
    return asked or min(cores, _HEADS_PER_GPU * len(gpus))


# -- the pool, in the driver -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkerSetup:
    """Settings of a worker process.

    Attributes:
        code: imported first.
        folder: temporary folder that workers and driver share.
        workers: number of concurrent workers.
        memory: GiB per worker; None for no limit.
        gpus: shared by the workers, as ``CUDA_VISIBLE_DEVICES`` names them; empty on a CPU.
    """

    code: Code
    folder: Path
    workers: int
    memory: float | None
    gpus: tuple[str, ...]

    def stderr(self, number: int) -> Path:
        """File that records standard error while a task runs."""
        return self.folder / f"task-{number}"


class _Pool:
    """Some tasks in a pool of their own."""

    def __init__(self, tasks: Sequence[Task], setup: WorkerSetup, timeout: float | None) -> None:
        self.waiting = deque(enumerate(tasks))
        self.setup = setup
        self.timeout = timeout
        self.running: dict[Future[Failure | None], tuple[int, Task]] = {}
        self.suspects: dict[int, float] = {}  # task number to the time since when its process seems to have ended
        self.checked = 0.0

    def run(self) -> Results:
        from pebble import ProcessPool

        with environment(ONE_THREAD):  # native libraries of new processes read it before our code runs
            context: Any = _KeepingLocks(_new_processes())
            # The initializer runs before a process takes a task: loading libraries neither counts as the task's time,
            # nor happens under the lock beneath which tasks are taken, one process after the other.
            pool = ProcessPool(
                max_workers=self.setup.workers,
                context=context,
                initializer=load_libraries,
                initargs=(dict(os.environ),),
            )
            try:
                while self.waiting or self.running:
                    self._send(pool)
                    done, _ = wait(self.running, timeout=_TICK, return_when=FIRST_COMPLETED)
                    for future in done:
                        number, task = self.running.pop(future)
                        yield task, self._outcome(future, number)
                    for future in self._vanished():
                        number, task = self.running.pop(future)
                        future.cancel()
                        yield task, self._died(0, number)
                pool.close()  # type: ignore[no-untyped-call]
            except BaseException:
                pool.stop()  # type: ignore[no-untyped-call]
                raise
            finally:
                pool.join()

    def _send(self, pool: ProcessPool) -> None:
        """Queue one task per process beside the running one."""
        if os.name == "posix":
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # where it first starts, it unblocks interrupts
        with blocked_interrupts():
            while self.waiting and len(self.running) < 2 * self.setup.workers:
                number, task = self.waiting.popleft()
                future: Future[Failure | None] = Future()
                try:
                    future = pool.schedule(run_in_worker, args=[task, self.setup, number], timeout=self.timeout)
                except RuntimeError as error:  # a broken pool takes no more
                    future.set_exception(BrokenProcessPool(str(error)))
                self.running[future] = number, task

    def _vanished(self) -> list[Future[Failure | None]]:
        """Tasks of processes that have ended without an error, which the pool does not report."""
        now = time.monotonic()
        if now - self.checked < _TICK:
            return []
        self.checked = now
        abandoned = {number for number, _ in self.running.values() if is_abandoned(self.setup.stderr(number))}
        self.suspects = {number: self.suspects.get(number, now) for number in abandoned}
        gone = {number for number, since in self.suspects.items() if now - since > _GRACE}
        return [future for future, (number, _) in self.running.items() if number in gone and not future.done()]

    def _outcome(self, future: Future[Failure | None], number: int) -> Failure | None:
        from pebble import ProcessExpired

        try:
            return future.result()
        except TimeoutError:
            assert self.timeout is not None
            return Failure.late(self.timeout, read_stderr(self.setup.stderr(number)))
        except ProcessExpired as error:
            return self._died(error.exitcode, number)
        except CancelledError:
            return Failure("cancelled", "cancelled")
        except BrokenProcessPool as error:
            return replace(Failure.of(error), retryable=True)
        except Exception as error:  # noqa: BLE001  (the task or its result could not be pickled)
            return Failure.of(error)

    def _died(self, exitcode: int, number: int) -> Failure:
        return Failure.died(exitcode, read_stderr(self.setup.stderr(number)), self.setup.memory)


def _new_processes() -> Any:
    """Return the context that starts processes: on Linux, they are forked from a server that has the libraries loaded.

    The server is started once, in a fresh interpreter without threads or CUDA, so its forks are as clean as spawned
    processes and start in milliseconds instead of seconds. Other systems cannot fork safely once torch is loaded.
    """
    if not FORKS:
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    try:
        with blocked_interrupts():
            forkserver.ensure_running()
    except ChildProcessError:  # this process was forked from one whose child the server is
        return multiprocessing.get_context("spawn")
    return context


class _KeepingLocks:
    """A multiprocessing context that keeps its locks alive.

    The pool drops its lock before it ends its processes: one that is just starting would not find the lock, and print
    a traceback.
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
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the context lasts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def blocked_interrupts() -> Iterator[None]:
    """Block SIGINT: threads and processes that start inside inherit that, and leave interrupts to the driver.

    No effect on Windows, where workers ignore interrupts by themselves.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- in a worker -------------------------------------------------------------------------------------------------------


def load_libraries(variables: Mapping[str, str] | None = None) -> None:
    """Import what tasks need. An error is not raised here: the task will raise it again, and report it.

    Args:
        variables: environment of the parent; that of a forked process is as old as the server.
    """
    if not hasattr(signal, "pthread_sigmask"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    stdout_to_stderr()
    if variables is not None:
        os.environ.clear()
        os.environ.update(variables)
    with suppress(Exception):
        single_thread()
        import fusionkit.engine.fit  # noqa: F401
    gc.freeze()  # no collection looks at what the libraries have made


@watched_interrupts()
def run_in_worker(task: Task, setup: WorkerSetup, number: int) -> Failure | None:
    """Run one task in a worker process.

    Args:
        task: to run.
        setup: of the worker.
        number: of the task in its pool.
    """
    with recorded_stderr(setup.stderr(number)):
        if memory_exhausted():
            os._exit(OUT_OF_MEMORY)  # the task goes to another process
        try:
            _set_up(setup)
        except BaseException as error:  # noqa: BLE001  (whatever a plugin raises while it is imported)
            return Failure.of(error)
        # Its GPU is the only one that this process sees.
        return attempt(replace(task, device="cuda:0") if setup.gpus else task, lambda _: None)


@lru_cache(maxsize=1)
def _set_up(setup: WorkerSetup) -> None:
    """Set up this process, once."""
    if setup.gpus:  # read when CUDA is first used; importing torch does not use it
        os.environ["CUDA_VISIBLE_DEVICES"] = _claim_gpu(setup.folder, setup.workers, setup.gpus)
    set_ceiling(setup.memory)
    single_thread()
    setup.code.load()


_claims = ExitStack()  # leases that are held for as long as the process lives


def _claim_gpu(folder: Path, workers: int, gpus: tuple[str, ...]) -> str:
    """Claim one GPU for this process, for as long as it lives. Workers are spread evenly.

    A claim is a lease. That of a dead process is free, so the process that replaces a lost one takes the same GPU.

    Raises:
        RuntimeError: if there are more processes than workers.
    """
    deadline = time.monotonic() + _CLAIM_TIMEOUT
    while time.monotonic() < deadline:
        for slot in range(workers):
            if _claims.enter_context(lease(folder / f"gpu-{slot}")):
                return gpus[slot % len(gpus)]
        time.sleep(0.05)
    raise RuntimeError(f"more than {workers} workers claim a GPU")
