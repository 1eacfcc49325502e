"""Batches made ahead by worker processes, in memory that they share with the training process.

A batch is written once, by the worker that makes it, and read from there: nothing is sent but its number. Workers are
those of torch's ``DataLoader``, forked on Linux; other systems cannot fork safely once torch is loaded, and make each
batch when it is asked for.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
_MOST = 16  # workers per process
_FEW = 4  # up to so many workers make two batches ahead each, more make one


def workers_here(processes: int) -> int:
    """Return the default number of workers of each process: one per core that no training process uses.

    Args:
        processes: training processes on this machine.
    """
    return max(1, min(cores_here() // processes - 1, _MOST))


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


class PerProcess(Generic[T]):
    """A value that a forked process builds again: open files and native libraries are not usable after a fork.

    Args:
        build: makes the value.
    """

    def __init__(self, build: Callable[[], T]) -> None:
        self.build = build
        self.reset()

    def reset(self) -> None:
        """Build the value again when it is next asked for."""
        self._process = 0

    @property
    def value(self) -> T:
        """This process's own value."""
        if self._process != os.getpid():
            self._value = self.build()
            self._process = os.getpid()
        return self._value


class Loader:
    """Batches by number, made in order and ahead. Iterating again makes them again, by the same workers.

    Args:
        make: writes the samples of a batch into arrays of shape (size, ...), and returns what else is to be known of
            the batch. It is called in a worker.
        numbers: of the batches.
        like: a sample; those of all batches have its shapes and types.
        size: samples per batch.
        workers: processes, at most one per core.
        device: that the batches are copied to. For a GPU their memory is page-locked, so that copies overlap.
        held: batches that stay valid when the next is asked for, that one included.
    """

    def __init__(
        self, make: Make, numbers: range, like: Sample, size: int, workers: int, device: torch.device, held: int = 1
    ) -> None:
        workers = min(workers, cores_here()) if FORKS else 0
        ahead = 2 if workers <= _FEW else 1
        self._slots = [
            [shared_array((size, *value.shape), value.dtype) for value in like] for _ in range(workers * ahead + held)
        ]
        self._on_card = device.type == "cuda"
        self._locked = ExitStack()
        self._loader: DataLoader[Any] | None = DataLoader(
            _Made(make, self._slots),
            batch_size=None,
            sampler=numbers,
            num_workers=workers,
            collate_fn=_unchanged,
            multiprocessing_context="fork" if workers else None,
            prefetch_factor=ahead if workers else None,
            persistent_workers=bool(workers),
            generator=torch.Generator(),  # torch draws a seed from it, and none from the run's own stream
        )
        self._started: Iterator[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers."""
        self._loader = self._started = None
        self._locked.close()

    def start(self) -> None:
        """Start the workers now: before other threads start, whose locks a forked process would find as they are."""
        assert self._loader is not None
        if self._started is None:
            with blocked_interrupts():  # the workers leave interrupts to this process
                self._started = iter(self._loader)
            if self._on_card:
                self._lock_pages()

    def __iter__(self) -> Iterator[tuple[Any, tuple[Tensor, ...]]]:
        """Yield what ``make`` returned and its arrays as tensors in shared memory.

        Raises:
            FusionKitError: that ``make`` raised.
            CellError: if a worker died.
        """
        self.start()
        made, self._started = self._started, None
        assert made is not None
        while True:
            try:
                number, about = next(made)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise CellError(
                    f"a process that reads images died: {cause_of(error)}", hint="its memory may have run out; rerun"
                ) from error
            if isinstance(about, FusionKitError):
                raise about
            yield about, tuple(map(torch.from_numpy, self._slots[number % len(self._slots)]))

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


def _unchanged(made: T) -> T:
    return made
