"""What happens in a Ray worker: it sees what the driver sees, loads the components' code, and does one task."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from secrets import token_hex
from typing import Any

from fusionkit.artifact import unwritable
from fusionkit.errors import DataError
from fusionkit.grid.memory import is_spoilt, set_ceiling, share
from fusionkit.grid.pool_worker import SPOILT
from fusionkit.grid.tasks import Code, Failure, Task, attempt, single_thread


@dataclass(frozen=True)
class Order:
    """What a worker is told beside its task.

    Attributes:
        code: to load.
        folder: the driver's working folder.
        token: names the probes of shared storage.
        memory: GiB that each worker may use; 0 for no limit, None for its share of what its machine has available.
    """

    code: Code
    folder: str
    token: str
    memory: float | None = None


class Clock:
    """An actor that knows how long each task has been at work; the driver cannot tell that from waiting for a core."""

    def __init__(self) -> None:
        self.began: dict[int, float] = {}

    def start(self, number: int) -> None:
        """A task has begun."""
        self.began[number] = time.monotonic()

    def late(self, limit: float, oldest: int) -> list[int]:
        """The tasks that began more than ``limit`` seconds ago; those before ``oldest`` are over and forgotten."""
        self.began = {number: began for number, began in self.began.items() if number >= oldest}
        return [number for number, began in self.began.items() if time.monotonic() - began > limit]


def work(task: Task, order: Order, clock: Any, number: int) -> Failure | None:
    """Do a task.

    Args:
        task: what to do.
        order: what to know first.
        clock: the :class:`Clock` actor, or None.
        number: of the task, for the clock.
    """
    if is_spoilt():
        os._exit(SPOILT)  # the task goes to another process
    on_gpu = task.device.startswith("cuda")
    try:
        _settle(order, on_gpu)
        for root in _roots(task):
            _refuse_private(root, order.token)
    except Exception as error:  # noqa: BLE001  (whatever a plugin raises while it is imported)
        return Failure.of(error)
    if clock is not None:
        clock.start.remote(number)
    if on_gpu:
        task = replace(task, device="cuda:0")  # Ray shows a worker the GPU that it is given, and no other
    return attempt(task, lambda _: None)


@lru_cache(maxsize=1)
def _settle(order: Order, on_gpu: bool) -> None:
    """Once a process: the driver's folder, so that relative paths mean the same; one thread; the components' code."""
    with suppress(OSError):  # where it is not shared, relative paths fail by themselves
        os.chdir(order.folder)
    if order.memory is not None:
        set_ceiling(order.memory or None)
    else:  # on a GPU none: its driver takes address space far beyond what it uses
        set_ceiling(None if on_gpu else share(os.cpu_count() or 1))
    single_thread()
    order.code.load()


@lru_cache
def _refuse_private(root: Path, token: str) -> None:
    """Results that are written where the others cannot see them would be lost without a word."""
    if not _probe(root, token).exists():
        raise DataError(
            f"machine {socket.gethostname()} does not see {root} as the machine that started the run does",
            hint="the run folder and the cache (FUSIONKIT_CACHE) must be on storage that all machines share",
        )


@contextmanager
def shared(tasks: Sequence[Task]) -> Iterator[str]:
    """While it lasts, a file in every folder that tasks share shows workers that they see the same folder.

    Yields:
        The token that an :class:`Order` takes along.

    Raises:
        StorageError: if such a folder cannot be written.
    """
    token = token_hex(8)
    probes = [_probe(root, token) for root in {root for task in tasks for root in _roots(task)}]
    try:
        for probe in probes:
            _make(probe)
        yield token
    finally:
        for probe in probes:
            probe.unlink(missing_ok=True)


def _make(probe: Path) -> None:
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        raise unwritable(probe, error) from error


def _roots(task: Task) -> list[Path]:
    folder: Path | None = getattr(task, "folder", None)
    return [task.cache] if folder is None else [task.cache, folder]


def _probe(root: Path, token: str) -> Path:
    return root / "leases" / f".ray-{token}"
