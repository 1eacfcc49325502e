"""Several tasks that one head learns together: labels and outputs side by side, and a weighted sum of losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusionkit.contracts.task import LossOptions, Task
from fusionkit.registry import TASKS
from fusionkit.registry.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from fusionkit.contracts.task import Criterion


@dataclass(frozen=True)
class Member:
    """One of several tasks.

    Attributes:
        spec: of the task.
        names: its parts.
        columns: K of labels (N, K); 0 for labels (N,), one class per frame.
    """

    spec: Spec
    names: tuple[str, ...]
    columns: int

    @property
    def task(self) -> Task:
        """The task."""
        task: Task = TASKS.build(self.spec, names=self.names)
        return task

    def described(self) -> list[Any]:
        """Return it as plain data, as ``head.json`` has it."""
        return [str(self.spec), list(self.names), self.columns]

    @classmethod
    def of(cls, described: Sequence[Any]) -> Member:
        """Return the member of plain data."""
        spec, names, columns = described
        return cls(Spec.parse(spec), tuple(names), columns)


def built(members: Sequence[Member], weighting: str = "equal") -> Task:
    """Return what a head learns: a task, or several together with a weighting of their losses."""
    return members[0].task if len(members) == 1 else JointTask(members, weighting)


def columns_of(members: Sequence[Member], index: int) -> slice:
    """Return the columns of one task in the outputs (n, O) of a head that learns all members."""
    start = sum(each.task.outputs for each in members[:index])
    return slice(start, start + members[index].task.outputs)


class JointTask(Task):
    """Several tasks on the same frames.

    Labels are (N, sum of columns) float32, NaN where there is none: one column for a task with one class per frame, and
    the columns of the others. Outputs, distributions and parts are those of the members, one after the other; counts
    too, each flattened. The metric is the mean of the members' metrics; it selects the epoch on dev.

    Args:
        described: the tasks, at least two.
        weighting: ``task_weighting`` of the recipe.
    """

    provided: ClassVar[tuple[str, ...]] = ("described", "weighting")
    part: ClassVar[str] = "part"
    score: ClassVar[str] = "score"
    metric_name: ClassVar[str] = "mean of tasks"
    least: ClassVar[float] = -1.0

    def __init__(self, described: Sequence[Member], weighting: str = "equal") -> None:
        super().__init__([f"{each.spec.name}: {name}" for each in described for name in each.names])
        self.described, self.weighting = tuple(described), weighting
        self.members = tuple(each.task for each in described)
        self._columns = _slices(max(each.columns, 1) for each in described)
        self._outputs = _slices(task.outputs for task in self.members)
        self._parts = _slices(len(task.names) for task in self.members)
        self._distributions = _slices(len(task.distributions(np.zeros((1, task.outputs)))) for task in self.members)
        self._shapes = [self._empty_counts(index).shape[1:] for index in range(len(self.members))]
        self._counts = _slices(int(np.prod(shape)) for shape in self._shapes)

    def _empty_counts(self, index: int) -> np.ndarray:
        task, nothing = self.members[index], np.zeros((0, self._columns[-1].stop))
        values = self.member_values(nothing, index)
        return task.counts(values, np.zeros((0, task.outputs)), np.zeros(0, np.int64), 1)

    @property
    def outputs(self) -> int:
        """Sum of the members' outputs."""
        return sum(task.outputs for task in self.members)

    @staticmethod
    def joined_values(values: Sequence[np.ndarray]) -> np.ndarray:
        """Return labels of all members, (N, sum of columns) float32."""
        columns = [np.where(each < 0, np.nan, each)[:, None] if each.ndim == 1 else each for each in values]
        return np.concatenate(columns, axis=1, dtype=np.float32)

    def member_values(self, values: np.ndarray, index: int) -> np.ndarray:
        """Return the labels of one member, (N,) int64 or (N, K) float32."""
        found = values[:, self._columns[index]]
        if self.described[index].columns:
            return found
        return np.where(np.isnan(found[:, 0]), -1, found[:, 0]).astype(np.int64)

    def problem(self, values: np.ndarray) -> str:
        """Return the first problem of a member's labels."""
        found = (task.problem(self.member_values(values, index)) for index, task in enumerate(self.members))
        return next((problem for problem in found if problem), "")

    def strata(self, values: np.ndarray) -> np.ndarray:
        """Return the stratum of the first member that has a label of the frame; those of members do not coincide."""
        found, start = np.full(len(values), -1), 0
        for index, task in enumerate(self.members):
            own = task.strata(self.member_values(values, index))
            found = np.where((found < 0) & (own >= 0), own + start, found)
            start += int(own.max(initial=-1)) + 1
        return found

    def criterion(self, target: Tensor, options: LossOptions) -> Criterion:
        """Return the weighted sum of the members' losses, each over the frames of a batch that it labels."""
        from fusionkit.engine.joint_loss import JointLoss  # imports torch

        own = zip(self.members, self._labelled(target), strict=True)
        losses = [task.criterion(values[rows], options) for task, (rows, values) in own]
        return JointLoss(losses, self.weighting, self._divided).to(target.device)

    def _divided(self, outputs: Tensor, target: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return outputs and labels of each member, of the frames that it labels."""
        own = zip(self._outputs, self._labelled(target), strict=True)
        return [(outputs[rows][:, columns], values[rows]) for columns, (rows, values) in own]

    def _labelled(self, target: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return for each member the rows that it labels, (B,) bool, and its labels of all."""
        found = []
        for each, columns in zip(self.described, self._columns, strict=True):
            values = target[:, columns]
            rows = ~values.isnan().all(1)
            found.append((rows, values if each.columns else values[:, 0].nan_to_num(nan=-1).long()))
        return found

    def distributions(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Return those of all members."""
        found = zip(self.members, self._outputs, strict=True)
        return [each for task, own in found for each in task.distributions(outputs[:, own])]

    def joined(self, distributions: Sequence[np.ndarray]) -> np.ndarray:
        """Return the predictions of all members."""
        found = zip(self.members, self._distributions, strict=True)
        return np.concatenate([task.joined(distributions[own]) for task, own in found], axis=1)

    def words(self, predictions: np.ndarray) -> np.ndarray:
        """Return the words of all members, with commas."""
        found = [task.words(predictions[:, own]) for task, own in zip(self.members, self._outputs, strict=True)]
        return np.array([", ".join(words) for words in zip(*found, strict=True)], dtype=np.str_)

    def prior(self, values: np.ndarray) -> np.ndarray:
        """Return the priors of all members, each of the frames that it labels."""
        return np.concatenate([task.prior(own[task.labelled(own)]) for task, own in self._each(values)])

    def class_labels(self, values: np.ndarray) -> list[np.ndarray]:
        """Return those of all members."""
        return [each for task, own in self._each(values) for each in task.class_labels(own)]

    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        """Return the flat counts (U, sum of sizes) float64, each member's of the frames that it labels."""
        found = []
        for (task, own), outputs in zip(self._each(values), self._outputs, strict=True):
            rows = task.labelled(own)
            counts = task.counts(own[rows], predictions[rows, outputs], unit[rows], units)
            found.append(counts.reshape(units, -1))
        return np.concatenate(found, axis=1, dtype=np.float64)

    def member_counts(self, counts: np.ndarray, index: int) -> np.ndarray:
        """Return the counts of one member in its shape."""
        return counts[..., self._counts[index]].reshape(*counts.shape[:-1], *self._shapes[index])

    def support(self, counts: np.ndarray) -> np.ndarray:
        """Return the support of all parts."""
        return self._of_counts(lambda task, own: task.support(own), counts)

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return the scores of all parts."""
        return self._of_counts(lambda task, own: task.scores(own), counts)

    def truth(self, counts: np.ndarray) -> np.ndarray:
        """Return the truth of all members."""
        return self._of_counts(lambda task, own: task.truth(own), counts)

    def constant(self, counts: np.ndarray) -> np.ndarray:
        """Return the constant predictors of all members."""
        flat = (*counts.shape[:-1], -1)
        return self._of_counts(lambda task, own: task.constant(own).reshape(flat), counts)

    def metric(self, counts: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
        """Return the mean of the members' metrics; a member without one is left out."""
        found = np.stack(
            [
                task.metric(self.member_counts(counts, index), None if present is None else present[..., parts])
                for index, (task, parts) in enumerate(zip(self.members, self._parts, strict=True))
            ],
            -1,
        )
        known = ~np.isnan(found)
        total, number = np.where(known, found, 0.0).sum(-1), known.sum(-1)
        mean: np.ndarray = np.divide(total, number, out=np.full(np.shape(total), np.nan), where=number > 0)
        return mean

    def unused(self, options: Mapping[str, object]) -> list[str]:
        """Return the options that no member uses."""
        found = [set(task.unused(options)) for task in self.members]
        return sorted(set.intersection(*found))

    def _each(self, values: np.ndarray) -> list[tuple[Task, np.ndarray]]:
        return [(task, self.member_values(values, index)) for index, task in enumerate(self.members)]

    def _of_counts(self, function: Callable[[Task, np.ndarray], np.ndarray], counts: np.ndarray) -> np.ndarray:
        found = [function(task, self.member_counts(counts, index)) for index, task in enumerate(self.members)]
        return np.concatenate(found, axis=-1)


def _slices(widths: Iterable[int]) -> list[slice]:
    return [slice(start, stop) for start, stop in pairwise(accumulate(widths, initial=0))]
