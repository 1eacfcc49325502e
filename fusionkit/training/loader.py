"""Batches made ahead by workers, in memory that they share with the training process.

A batch is written once, by the worker that makes it, and read from there: only its number is sent. On Linux, workers
are the forked processes of torch's ``DataLoader``. Windows cannot fork, and macOS not safely once torch is loaded:
there, workers are threads.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from math import prod
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from fusionkit.errors import CellError, FusionKitError, cause_of
from fusionkit.grid.executors import blocked_interrupts

if TYPE_CHECKING:
    from multiprocessing.synchronize import Lock

    from torch import Tensor

T = TypeVar("T")
Sample = tuple[np.ndarray, ...]
Make = Callable[[int, list[np.ndarray]], Any]

FORKS = sys.platform == "linux"
_LEAST, _MOST = 2, 16  # workers per training process, by default
_FEW = 4  # up to so many workers make two batches ahead each, more make one


def workers_here(processes: int) -> int:
    """Return the default number of workers of each process: one per core that no training process uses, at least two.

    Two keep both cores of a small machine busy where a sample costs more than its training. Threads are two: more would
    wait for each other.

    Args:
        processes: training processes on this machine.
    """
    return min(max(cores_here() // processes - 1, _LEAST), _MOST) if FORKS else _LEAST


def cores_here() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if FORKS else os.cpu_count() or 1


def shared_array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array of zeros in memory that forked processes share. Pages take memory once they are written.

    Raises:
        OSError: if the system refuses so much.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype, prod(shape)).reshape(shape)


def shared_lock() -> Lock:
    """Return a lock that forked processes share."""
    from multiprocessing import get_context

    return get_context("fork" if FORKS else None).Lock()


class PerWorker(Generic[T]):
    """A value that each forked process and each thread builds for itself.

    Open files and native libraries are not usable after a fork, and need not be safe in several threads.

    Args:
        build: makes the value.
    """

    def __init__(self, build: Callable[[], T]) -> None:
        self.build = build
        self.reset()

    def reset(self) -> None:
        """Build the values again when they are next asked for."""
        self._own = threading.local()

    @property
    def value(self) -> T:
        """The value of this process and thread."""
        if getattr(self._own, "process", None) != os.getpid():
            self._own.value = self.build()
            self._own.process = os.getpid()
        found: T = self._own.value
        return found


@contextmanager
def reported_deaths() -> Iterator[None]:
    """Report the death of a worker process. torch raises it wherever this process is, by a signal.

    Raises:
        CellError: if a worker process died.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise CellError(
            f"a worker process that reads images died: {cause_of(error)}",
            hint="memory may have run out: choose fewer run.workers; rerun to resume from the last checkpoint",
        ) from error


class Loader:
    """Batches by number, made in order and ahead. Iterating again makes them again, by the same workers.

    Args:
        make: writes the samples of a batch into arrays of shape (size, ...), and returns what else is to be known of
            the batch. A worker calls it.
        numbers: of the batches.
        like: a sample; those of all batches have its shapes and types.
        size: samples per batch.
        workers: processes, or threads where there is no fork; at most one per core.
        device: that the batches are copied to. For a GPU their memory is page-locked, so that copies overlap.
        held: batches that stay valid when the next is asked for, that one included.
    """

    def __init__(
        self, make: Make, numbers: range, like: Sample, size: int, workers: int, device: torch.device, held: int = 1
    ) -> None:
        workers = min(workers, cores_here())
        ahead = 2 if workers <= _FEW else 1
        self._numbers, self._ahead = numbers, workers * ahead
        self._slots = [
            [shared_array((size, *value.shape), value.dtype) for value in like] for _ in range(self._ahead + held)
        ]
        self._making = _Made(make, self._slots)
        self._on_card = device.type == "cuda"
        self._locked = ExitStack()
        self._threads = ThreadPoolExecutor(workers, "fusionkit-images")  # no thread starts without work
        self._processes: DataLoader[Any] | None = None
        if FORKS:
            self._processes = DataLoader(
                self._making,
                batch_size=None,
                sampler=numbers,
                num_workers=workers,
                collate_fn=_unchanged,
                multiprocessing_context="fork",
                prefetch_factor=ahead,
                persistent_workers=True,
                generator=torch.Generator(),  # torch draws a seed from it, and none from the run's own stream
            )
        self._started: Iterator[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        self._processes = self._started = None
        self._threads.shutdown(cancel_futures=True)
        self._locked.close()

    def start(self) -> None:
        """Fork now: before other threads start, whose locks a forked process would find as they are."""
        if self._started is None:
            with blocked_interrupts():  # the workers leave interrupts to this process
                self._started = iter(self._processes) if self._processes is not None else self._by_threads()
            if self._on_card:
                self._lock_pages()

    def __iter__(self) -> Iterator[tuple[Any, tuple[Tensor, ...]]]:
        """Yield what ``make`` returned and its arrays as tensors in shared memory.

        Raises:
            FusionKitError: that ``make`` raised.
            CellError: if ``make`` raised another error.
        """
        self.start()
        made, self._started = self._started, None
        assert made is not None
        for number, about in made:
            if isinstance(about, FusionKitError):
                raise about
            yield about, tuple(map(torch.from_numpy, self._slots[number % len(self._slots)]))

    def _by_threads(self) -> Iterator[tuple[int, Any]]:
        """Yield what :class:`_Made` returns, made ahead by threads, in order."""
        waiting: deque[Future[tuple[int, Any]]] = deque()
        try:
            for number in self._numbers:
                waiting.append(self._threads.submit(self._making.__getitem__, number))
                if len(waiting) > self._ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            wait([future for future in waiting if not future.cancel()])  # those that are running write into the memory

    def _lock_pages(self) -> None:
        """Lock the pages of all slots, after the workers were forked. Without it, copies are slower but right."""
        runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        self._locked.close()
        for array in (array for slot in self._slots for array in slot):
            if int(runtime.cudaHostRegister(array.ctypes.data, array.nbytes, 0)) == 0:
                self._locked.callback(runtime.cudaHostUnregister, array.ctypes.data)


class _Made(Dataset[Any]):
    """Makes a batch in its slot, in a worker; returns its number, and what ``make`` returned or raised."""

    def __init__(self, make: Make, slots: list[list[np.ndarray]]) -> None:
        self.make, self.slots = make, slots

    def __getitem__(self, number: int) -> tuple[int, Any]:
        try:
            return number, self.make(number, self.slots[number % len(self.slots)])
        except FusionKitError as error:
            return number, error
        except Exception as error:  # noqa: BLE001  (of a component; torch would put its traceback into the message)
            failed = CellError(f"making a training sample failed: {cause_of(error)}")
            failed.add_note(traceback.format_exc())
            return number, failed


def _unchanged(made: T) -> T:
    return made
