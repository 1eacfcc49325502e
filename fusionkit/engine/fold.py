"""One fold of one data set, and what each stage may see of it. Test labels stay sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fusionkit.config.grid_config import EXPRESSION
from fusionkit.config.splits import Fold, divide
from fusionkit.contracts.dataset import UNLABELLED, FrameTable
from fusionkit.contracts.task import Labels, Task
from fusionkit.engine.features import FoldRows
from fusionkit.engine.score import SealedLabels
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import DataError
from fusionkit.registry import TASKS
from fusionkit.registry.spec import Spec

_SHOWN = 2  # problems in a warning; each may be as long as two paths


@dataclass(frozen=True, eq=False)
class FoldData:
    """One fold of one data set, for one task.

    Attributes:
        task: the prediction task.
        values: (N, ...) labels of the task, of the rows of the source.
        task_spec: name and options of the task.
    """

    source: Source
    fold: Fold
    task: Task
    values: np.ndarray
    task_spec: Spec = EXPRESSION

    @cached_property
    def rows(self) -> FoldRows:
        """Rows of every part, labels of train and dev: what training may use."""
        table, values = self.source.table, self.values
        train = self.fold.rows("train")
        train = train[self.task.labelled(values[train])]
        dev = self.fold.rows("dev")
        return FoldRows(
            train=train,
            train_label=values[train],
            train_unit=table.unit[train],
            dev=dev,
            dev_label=values[dev],
            test=self.fold.rows("test"),
            clip=table.clip_index,
            number=table.number,
        )

    @cached_property
    def labels_digest(self) -> str:
        """Hash of the names of the parts and of all labels (16 hex digits)."""
        state = hashlib.sha256("\n".join(self.task.names).encode())
        state.update(np.ascontiguousarray(self.values).tobytes())
        return state.hexdigest()[:16]

    @cached_property
    def dev_table(self) -> FrameTable:
        """Dev frames, with their labels."""
        return self.source.table.take(self.rows.dev)

    @cached_property
    def test_table(self) -> FrameTable:
        """Test frames, every label -1."""
        table = self.source.table.take(self.rows.test)
        return replace(table, label=np.full(len(table), UNLABELLED))

    @cached_property
    def sealed(self) -> SealedLabels:
        """Test labels, for the scorer."""
        table, values = self.source.table.take(self.rows.test), self.values[self.rows.test]
        return SealedLabels(values, table.unit, table.clip, self.task.labelled(values))

    @cached_property
    def prior(self) -> np.ndarray:
        """(O,) prediction for a frame of which nothing is known, from the training frames: class shares."""
        return self.task.prior(self.rows.train_label)


def open_folds(
    dataset: Spec, split: Spec, limit: int | None, task: Spec = EXPRESSION
) -> tuple[tuple[FoldData, ...], list[str]]:
    """Open a data set, with the labels of a task, and divide it.

    Returns:
        Its folds, and warnings about its data and its split.

    Raises:
        ConfigError: if the options of the data set are refused.
        DataError: if data are missing, empty, have no labels of the task, or cannot be divided.
    """
    source = open_source(dataset, limit)
    built, values = _open_task(source, task)
    try:
        folds, warnings = divide(split, source.table, built, values, source.composites())
    except DataError as error:
        raise DataError(f"data set {dataset}: {error}") from error
    return tuple(FoldData(source, fold, built, values, task) for fold in folds), [*_data_warnings(source), *warnings]


def described(description: Mapping[str, Any]) -> tuple[Spec, int | None, Spec]:
    """Return split, limit and task of a grid, from its description in ``grid.json``."""
    return Spec.parse(description["split"]), description["limit"], Spec.parse(description["task"])


def _open_task(source: Source, spec: Spec) -> tuple[Task, np.ndarray]:
    """Return the task on the labels of a data set, and the labels of the rows that are used.

    Raises:
        ConfigError: if the options of the task are refused.
        DataError: if the data set has no labels of the task, or the task refuses one.
    """
    cls: type[Task] = TASKS.get(spec.name)
    labels: Labels | None = source.dataset.task_labels(cls.labels or spec.name)
    if labels is None:
        known = [name for name in TASKS.names() if source.dataset.task_labels(name) is not None]
        hint = source.dataset.labels_hint(spec.name) or f"it has those of {', '.join(known)}"
        raise DataError(f"data set {source.spec} has no labels of task {spec.name}", hint=hint)
    task: Task = TASKS.build(spec, names=labels.names)
    if problem := task.problem(labels.values):
        raise DataError(f"data set {source.spec}: {problem}")
    return task, labels.values[source.rows]


def _data_warnings(source: Source) -> list[str]:
    """Return the number of problems that ``fusionkit data check`` lists, and the first ones, in one line."""
    problems = list(source.dataset.problems())
    if not problems:
        return []
    more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    check = f"fusionkit data check {source.spec} lists all"
    return [f"{len(problems):,} problem(s) in the data: {'; '.join(problems[:_SHOWN])}{more} ({check})"]
