"""The task ``expression`` without names of classes, and its statistics of confusion counts (S, U, C, C)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from fusionkit.contracts import Task
from fusionkit.registry import TASKS
from fusionkit.stats import intervals


def expression(classes: int) -> Task:
    """Return the task with C classes."""
    task: Task = TASKS.build("expression", names=tuple(map(str, range(classes))))
    return task


def _counted(name: str, counts: np.ndarray, *arguments: Any) -> Any:
    return getattr(intervals, name)(expression(counts.shape[-1]), counts, *arguments)


interval = partial(_counted, "interval")
paired_difference = partial(_counted, "paired_difference")
permutation_p = partial(_counted, "permutation_p")


def macro_f1(counts: np.ndarray) -> np.ndarray:
    """Return macro-F1 (...) of confusion counts (..., C, C)."""
    return expression(counts.shape[-1]).metric(counts)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Return the share of correct frames (...) of confusion counts (..., C, C)."""
    return expression(counts.shape[-1]).measures(counts)["accuracy"]


__all__: Sequence[str] = ("accuracy", "expression", "interval", "macro_f1", "paired_difference", "permutation_p")
