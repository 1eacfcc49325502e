"""The task ``expression`` for tests, and the statistics of confusion counts (S, U, C, C) with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
from torch import Tensor

from fusionkit.config.recipe import Recipe
from fusionkit.config.splits import Composites, Fold, divide
from fusionkit.contracts import FrameTable, Smoother, Task
from fusionkit.engine.fit import loss_options
from fusionkit.engine.smooth import TaskSmoother
from fusionkit.registry.spec import Spec
from fusionkit.stats import bootstrap, intervals, permutation
from fusionkit_tasks.expression import Expression
from fusionkit_tasks.single_label import calibration_error as ece

__all__ = ["ece"]


def expression(classes: int | Sequence[str]) -> Expression:
    """One of C classes per frame."""
    return Expression([str(index) for index in range(classes)] if isinstance(classes, int) else classes)


def _counted(function: Any) -> Any:
    """The function with the task of its first counts."""

    @wraps(function)
    def of_counts(counts: np.ndarray, *args: Any, **options: Any) -> Any:
        return function(expression(counts.shape[-1]), counts, *args, **options)

    return of_counts


interval, paired_difference = _counted(intervals.interval), _counted(intervals.paired_difference)
permutation_p, class_permutation_p = _counted(intervals.permutation_p), _counted(intervals.part_permutation_p)
leave_one_out, leave_one_out_scores = _counted(intervals.leave_one_out), _counted(intervals.leave_one_out_scores)
macro_f1, best_constant = _counted(Task.metric), _counted(Expression.constant)
swaps_of = _counted(permutation.UnitSwaps.of)


def uar(counts: np.ndarray) -> np.ndarray:
    """Mean recall of the classes in the truth."""
    return expression(counts.shape[-1]).measures(counts)["uar"]


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of correct frames."""
    return expression(counts.shape[-1]).measures(counts)["accuracy"]


def bootstrap_estimate(terms: Sequence[tuple[float, np.ndarray]], *args: Any, **options: Any) -> Any:
    """Bootstrap of confusion counts."""
    return bootstrap.bootstrap_estimate(expression(terms[0][1].shape[-1]), terms, *args, **options)


def divided(
    spec: Spec, table: FrameTable, classes: Sequence[str], composites: Composites | None = None
) -> tuple[list[Fold], list[str]]:
    """The folds of a split of the labels of the table, and warnings."""
    return divide(spec, table, expression(classes), table.label, composites)


def criterion(recipe: Recipe, target: Tensor, classes: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a recipe."""
    return expression(classes).criterion(target, loss_options(recipe))


def smoother_of(member: Smoother, classes: int) -> TaskSmoother:
    """A smoother of one distribution over classes."""
    return TaskSmoother(expression(classes), [member])
