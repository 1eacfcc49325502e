"""What happens in a process of the pool: it is given its GPU and its share of memory, loads code, and does one task."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from fusionkit.grid import last_words
from fusionkit.grid.gpus import claim
from fusionkit.grid.memory import is_spoilt, set_ceiling
from fusionkit.grid.tasks import Code, Failure, Task, attempt, single_thread

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
    with last_words.recorded(order.words(number)):
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
