"""One fold of one data set, and what each stage may see of it. Test labels stay sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fusionkit.config.grid_config import EXPRESSION, LABELLED, tasks_text
from fusionkit.config.splits import Fold, divide
from fusionkit.contracts.dataset import UNLABELLED, FrameTable
from fusionkit.contracts.task import Labels, Task
from fusionkit.engine.features import FoldRows, clip_edges
from fusionkit.engine.joint_task import JointTask, Member
from fusionkit.engine.score import SealedLabels
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import DataError
from fusionkit.registry import TASKS
from fusionkit.registry.spec import Spec, split_specs

_SHOWN = 2  # problems in a warning; each may be as long as two paths


@dataclass(frozen=True, eq=False)
class TaskLabels:
    """One task, with its labels of the rows of a source.

    Attributes:
        spec: name and options of the task.
        task: the task.
        values: (N, ...) its labels; where clips are labelled, that of the clip.
    """

    spec: Spec
    task: Task
    values: np.ndarray

    @property
    def member(self) -> Member:
        """The task as a head names it."""
        return Member(self.spec, self.task.names, self.values.shape[1] if self.values.ndim > 1 else 0)


def _together(tasks: Sequence[TaskLabels]) -> tuple[Task, np.ndarray]:
    """Return one task for all, and its labels."""
    if len(tasks) == 1:
        return tasks[0].task, tasks[0].values
    return JointTask([each.member for each in tasks]), JointTask.joined_values([each.values for each in tasks])


@dataclass(frozen=True, eq=False)
class FoldData:
    """One fold of one data set, for one task or several that are learned together.

    Attributes:
        tasks: the tasks with their labels.
        labels: what has one label, one prediction and one score: ``frame`` or ``clip``.
    """

    source: Source
    fold: Fold
    tasks: tuple[TaskLabels, ...]
    labels: str = LABELLED[0]

    @cached_property
    def _narrowed(self) -> dict[tuple[Spec, ...], FoldData]:
        return {tuple(each.spec for each in self.tasks): self}

    def of(self, *specs: Spec) -> FoldData:
        """Return the same fold for some of the tasks; the same object for the same tasks, this one for all of them."""
        if specs not in self._narrowed:
            own = {each.spec: each for each in self.tasks}
            self._narrowed[specs] = replace(self, tasks=tuple(own[spec] for spec in specs))
        return self._narrowed[specs]

    @property
    def members(self) -> tuple[Member, ...]:
        """The tasks as a head names them."""
        return tuple(each.member for each in self.tasks)

    @property
    def task_text(self) -> str:
        """Its tasks as in a config: ``expression,action-units``."""
        return tasks_text(each.spec for each in self.tasks)

    @cached_property
    def _joint(self) -> tuple[Task, np.ndarray]:
        return _together(self.tasks)

    @property
    def task(self) -> Task:
        """The task, or all of several."""
        return self._joint[0]

    @property
    def values(self) -> np.ndarray:
        """(N, ...) labels of :attr:`task`, of the rows of the source."""
        return self._joint[1]

    @cached_property
    def rows(self) -> FoldRows:
        """Frames of every part, labels of train and dev: what training may use."""
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
    def scored(self) -> FoldRows:
        """Rows that have one prediction each: all frames, or the first frame of each clip."""
        return self.rows if self.labels == "frame" else self.rows.of_clips()

    @cached_property
    def labels_digest(self) -> str:
        """Hash of the names of the parts and of all labels (16 hex digits)."""
        state = hashlib.sha256("\n".join(self.task.names).encode())
        state.update(np.ascontiguousarray(self.values).tobytes())
        if self.labels != "frame":
            state.update(self.labels.encode())
        return state.hexdigest()[:16]

    @cached_property
    def dev_table(self) -> FrameTable:
        """Dev frames, with their labels; the first of each clip where clips are labelled."""
        return self.source.table.take(self.scored.dev)

    @cached_property
    def test_table(self) -> FrameTable:
        """Test frames, every label -1; the first of each clip where clips are labelled."""
        table = self.source.table.take(self.scored.test)
        return replace(table, label=np.full(len(table), UNLABELLED))

    @cached_property
    def sealed(self) -> SealedLabels:
        """Test labels, for the scorer."""
        table, values = self.source.table.take(self.scored.test), self.values[self.scored.test]
        return SealedLabels(values, table.unit, table.clip, self.task.labelled(values))

    @cached_property
    def prior(self) -> np.ndarray:
        """(O,) prediction where nothing is known, from the training frames or clips: class shares."""
        return self.task.prior(self.scored.train_label)


def open_folds(
    dataset: Spec, split: Spec, limit: int | None, tasks: Sequence[Spec] = (EXPRESSION,), labels: str = LABELLED[0]
) -> tuple[tuple[FoldData, ...], list[str]]:
    """Open a data set, with the labels of one task or several, and divide it.

    Returns:
        Its folds for all the tasks, and warnings about its data and its split.

    Raises:
        ConfigError: if the options of the data set are refused.
        DataError: if data are missing, empty, have no labels of a task, or cannot be divided.
    """
    source = open_source(dataset, limit)
    opened = tuple(_open_task(source, spec, labels) for spec in tasks)
    try:
        folds, warnings = divide(split, source.table, *_together(opened), source.composites())
    except DataError as error:
        raise DataError(f"data set {dataset}: {error}") from error
    if labels == "clip":
        _check_whole_clips(source, folds)
    return tuple(FoldData(source, fold, opened, labels) for fold in folds), [*_data_warnings(source), *warnings]


def described(description: Mapping[str, Any]) -> tuple[Spec, int | None, list[Spec], str]:
    """Return split, limit, tasks and what is labelled of a grid, from its description in ``grid.json``."""
    tasks = dict.fromkeys(map(Spec.parse, split_specs(description["task"])))
    return Spec.parse(description["split"]), description["limit"], list(tasks), description.get("labels", LABELLED[0])


def _clip_values(source: Source, task: Task, values: np.ndarray) -> np.ndarray:
    """Return labels (N, ...) in which every frame has the label of its clip, that of its labelled frames.

    Raises:
        DataError: if two frames of a clip have different labels.
    """
    table, found = source.table, values.copy()
    labelled, edges = task.labelled(values), clip_edges(source.table.clip_index)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        own = np.flatnonzero(labelled[start:stop]) + start
        if not len(own):
            continue
        differ = [row for row in own if not np.array_equal(values[row], values[own[0]], equal_nan=values.ndim > 1)]
        if differ:
            frames = f"frames {table.number[own[0]]} and {table.number[differ[0]]}"
            raise DataError(
                f"data set {source.spec}: {frames} of clip {table.clip[start]} have different labels, and "
                "labels = clip needs one label a clip",
                hint="use labels = frame",
            )
        found[start:stop] = values[own[0]]
    return found


def _check_whole_clips(source: Source, folds: list[Fold]) -> None:
    """Raise :class:`DataError` if frames of one clip are in different parts of a fold."""
    clip = source.table.clip_index
    for fold in folds:
        cut = np.flatnonzero((clip[1:] == clip[:-1]) & (fold.part[1:] != fold.part[:-1]))
        if len(cut):
            name = source.table.clip[cut[0]]
            raise DataError(
                f"data set {source.spec}: split {fold.name} cuts clip {name}, and labels = clip needs whole clips",
                hint="use split = holdout, or labels = frame",
            )


def _open_task(source: Source, spec: Spec, labelled: str) -> TaskLabels:
    """Return the task on the labels of a data set, with the labels of the rows that are used.

    Raises:
        ConfigError: if the options of the task are refused.
        DataError: if the data set has no labels of the task, the task refuses one, or frames of a clip differ.
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
    values = labels.values[source.rows]
    return TaskLabels(spec, task, values if labelled == "frame" else _clip_values(source, task, values))


def _data_warnings(source: Source) -> list[str]:
    """Return the number of problems that ``fusionkit data check`` lists, and the first ones, in one line."""
    problems = list(source.dataset.problems())
    if not problems:
        return []
    more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    check = f"fusionkit data check {source.spec} lists all"
    return [f"{len(problems):,} problem(s) in the data: {'; '.join(problems[:_SHOWN])}{more} ({check})"]
