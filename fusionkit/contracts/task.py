"""Contract of a task: what is predicted, how a head learns it, and how predictions are scored.

Scores are computed from counts: arrays of counts or sums that add up over the frames of a unit (subject or video) and
over units. Intervals, paired tests and attributions need nothing else of a task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of one task for all N frames of a data set.

    Attributes:
        names: what is scored, one by one: classes, action units, dimensions.
        values: (N,) int64 in ``-1 .. C-1`` for one class per frame, -1 unlabelled; or (N, K) float32, where NaN is an
            entry without label.
    """

    names: tuple[str, ...]
    values: np.ndarray


@dataclass(frozen=True)
class LossOptions:
    """Options of a training recipe that change the loss. Each is at its neutral value where a task does not use it.

    Attributes:
        loss: ``cross-entropy`` or ``focal``.
        class_weights: ``balanced`` or ``none``.
        focal_gamma: exponent of the focal loss, >= 0.
        label_smoothing: share of the target that is spread over all classes, 0..1.
        logit_adjustment: tau, >= 0.
    """

    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    class_weights: Literal["balanced", "none"] = "none"
    focal_gamma: float = 2.0
    label_smoothing: float = 0.0
    logit_adjustment: float = 0.0


class Task(Component, ABC):
    """What is predicted of each frame.

    A head gives ``outputs`` numbers per frame. They are the logits of one or more distributions over classes
    (:meth:`distributions`). Smoothers work on these distributions, one at a time; :meth:`joined` turns them into the
    predictions of the task, which are scored, shown and written.

    Args:
        names: what is scored, one by one: classes, action units, dimensions.

    Attributes:
        part: what one of ``names`` is: ``class``, ``action unit``, ``dimension``.
        score: name of the score of one part: ``F1``.
        metric_name: name of the metric, the mean over parts: ``macro-F1``.
        least: least possible score, 0 or -1. The greatest is 1.
        exclusive: whether a frame has one of the classes ``names``: outputs are the logits of one distribution over
            them. Fusions of class probabilities and fitted fusions need it.
        discrete: whether the classes of the distributions are labelled. Smoothers that decide for classes, or learn
            from them, need it.
        labels: name by which data sets give the labels; empty for the name of the task.
        loss_options: names of the fields of :class:`LossOptions` that :meth:`criterion` uses.
    """

    kind: ClassVar[str] = "task"
    provided: ClassVar[tuple[str, ...]] = ("names",)
    part: ClassVar[str] = "class"
    score: ClassVar[str] = "F1"
    metric_name: ClassVar[str] = "macro-F1"
    least: ClassVar[float] = 0.0
    exclusive: ClassVar[bool] = False
    discrete: ClassVar[bool] = True
    labels: ClassVar[str] = ""
    loss_options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    @property
    def parts(self) -> str:
        """Plural of ``part``."""
        if self.part.endswith("y"):
            return f"{self.part[:-1]}ies"
        return f"{self.part}{'es' if self.part.endswith('s') else 's'}"

    @property
    def key(self) -> str:
        """Name of the metric as a column: ``macro_f1``."""
        return self.metric_name.lower().replace("-", "_").replace(" ", "_")

    @property
    def score_key(self) -> str:
        """Name of the score of one part as a column: ``f1``."""
        return self.score.lower().replace("-", "_").replace(" ", "_")

    # -- labels ----------------------------------------------------------------------------------------------------

    @property
    def outputs(self) -> int:
        """Number of outputs of a head: one per part."""
        return len(self.names)

    @abstractmethod
    def problem(self, values: np.ndarray) -> str:
        """Return what is wrong with labels (N, ...) of a data set, with the row; an empty text if nothing is."""

    @abstractmethod
    def strata(self, values: np.ndarray) -> np.ndarray:
        """Return the stratum of each frame, (N,) int64 >= 0, or -1 for a frame without any label.

        Splits keep the shares of strata alike; frames of stratum -1 are not used for training.
        """

    @abstractmethod
    def support(self, counts: np.ndarray) -> np.ndarray:
        """Return the number of frames by which each part can be scored, (..., K), from counts ``(..., *shape)``."""

    # -- learning --------------------------------------------------------------------------------------------------

    @abstractmethod
    def criterion(self, target: Tensor, options: LossOptions) -> Criterion:
        """Return the training loss.

        Args:
            target: (N, ...) labels of all training frames, for class weights.
            options: of the recipe.

        Returns:
            (outputs (B, O), target (B, ...)) to a scalar, the mean over the labels of a batch. The parameters of an
            ``nn.Module`` are trained with the head, without weight decay, and not stored.
        """

    def hard_labels(self, values: np.ndarray) -> np.ndarray:
        """Return labels (N, ...) as one class per frame, (N,) int64, for an ``exclusive`` task."""
        return values

    # -- predictions -----------------------------------------------------------------------------------------------

    def distributions(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Return the logits (n, C_k) of each distribution, from outputs (n, O). Default: one distribution."""
        return [outputs]

    def joined(self, distributions: Sequence[np.ndarray]) -> np.ndarray:
        """Return the predictions (n, O) float64 from the probabilities (n, C_k) of each distribution."""
        return distributions[0]

    @abstractmethod
    def words(self, predictions: np.ndarray) -> np.ndarray:
        """Return the predictions (n, O) in words, (n,) str: the most probable class."""

    def answers(self, predictions: np.ndarray) -> np.ndarray:
        """Return what a submission states of predictions (n, O): (n, K) values; or (n,) class indices."""
        return predictions

    @abstractmethod
    def prior(self, values: np.ndarray) -> np.ndarray:
        """Return the prediction (O,) for a frame of which nothing is known.

        Args:
            values: (N, ...) labels of the training frames.
        """

    def class_labels(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the labels (n,) int64 of each distribution, -1 unlabelled, for a ``discrete`` task."""
        return [self.hard_labels(values)]

    # -- scores ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        """Return the counts of each unit, ``(U, *shape)`` int64 or float64. They add up.

        Args:
            values: (n, ...) labels; every frame has one.
            predictions: (n, O).
            unit: (n,) int64 in 0..U-1.
            units: U.
        """

    @abstractmethod
    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return the score of each part, (..., K) float64, from counts ``(..., *shape)``; NaN where it is undefined."""

    @abstractmethod
    def truth(self, counts: np.ndarray) -> np.ndarray:
        """Return what of the counts depends on labels alone, (..., T); all 0 without a labelled frame.

        Rows with equal truth were tested on the same frames.
        """

    @abstractmethod
    def constant(self, counts: np.ndarray) -> np.ndarray:
        """Return the counts of the best predictor that ignores its input, of the same frames: ``(..., *shape)``."""

    def metric(self, counts: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
        """Return the mean score of the present parts.

        Args:
            counts: ``(..., *shape)``.
            present: (..., K) bool, the parts to average; default: those with ``support``. A part among them without a
                score is left out of that mean.

        Returns:
            (...) float64; NaN where no part has a score.
        """
        found = self.scores(counts)
        valid = (self.support(counts) > 0 if present is None else present) & ~np.isnan(found)
        total, number = np.where(valid, found, 0.0).sum(-1), valid.sum(-1)
        mean: np.ndarray = np.divide(total, number, out=np.full(np.shape(total), np.nan), where=number > 0)
        return mean

    def measures(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return further measures (...) by name, from counts ``(..., *shape)``. Default: none."""
        return {}

    def diagnostics(self, values: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """Return measures that counts do not give, by name; arguments as for :meth:`counts`. Default: none."""
        return {}

    def predicted(self, counts: np.ndarray) -> np.ndarray | None:
        """Return the share of frames that is predicted as each part, (..., K); None, the default, if there is none."""
        return None

    def confusion(self, counts: np.ndarray) -> np.ndarray | None:
        """Return the confusion matrices (..., C, C), rows truth, columns prediction; None, the default, without one."""
        return None

    def ceiling(self, values: np.ndarray) -> tuple[str, float] | None:
        """Return what the metric on labels (n, ...) is compared with, in words, and its value; None, the default."""
        return None

    # -- what the kernel calls -------------------------------------------------------------------------------------

    def labelled(self, values: np.ndarray) -> np.ndarray:
        """Return which frames have a label: (N,) bool."""
        found: np.ndarray = self.strata(values) >= 0
        return found

    def present(self, values: np.ndarray) -> np.ndarray:
        """Return which parts could be scored on frames with these labels: (K,) bool."""
        found: np.ndarray = self.frames_of_parts(values) > 0
        return found

    def frames_of_parts(self, values: np.ndarray) -> np.ndarray:
        """Return the number of frames by which each part could be scored, (K,), among those with these labels."""
        kept = values[self.labelled(values)]
        unit = np.zeros(len(kept), np.int64)
        found: np.ndarray = self.support(self.counts(kept, np.zeros((len(kept), self.outputs)), unit, 1))[0]
        return found

    def absent(self, values: np.ndarray) -> list[str]:
        """Return the parts that could not be scored on frames with these labels."""
        return [name for name, there in zip(self.names, self.present(values).tolist(), strict=True) if not there]

    def unused(self, options: Mapping[str, object]) -> list[str]:
        """Return the names of the given options that change a loss, but not that of this task."""
        return sorted((options.keys() & LossOptions.__dataclass_fields__.keys()) - self.loss_options)

    def unit_counts(
        self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the units (U,), sorted, and their counts ``(U, *shape)``, of labelled frames.

        Raises:
            DataError: if the counts do not have one entry per unit.
        """
        units, codes = np.unique(unit, return_inverse=True)
        counts = self.counts(values, predictions, codes, len(units))
        if len(counts) != len(units):
            raise DataError(f"task {type(self).__name__} gave counts of {len(counts)} units, not {len(units)}")
        return units, counts

    def dev_metric(self, values: np.ndarray, predictions: np.ndarray) -> float:
        """Return the metric of predictions (n, O); frames without label are left out."""
        rows = np.flatnonzero(self.labelled(values))
        counts = self.counts(values[rows], predictions[rows], np.zeros(len(rows), np.int64), 1)
        return float(self.metric(counts[0]))
