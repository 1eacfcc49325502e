"""Task ``action-units``: which facial action units are active in a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fusionkit.contracts import LossOptions, Task
from fusionkit_tasks.losses import focal_factor
from fusionkit_tasks.ratio import ratio
from fusionkit_tasks.shapes import wrong_columns

if TYPE_CHECKING:
    from torch import Tensor


class ActionUnits(Task):
    """Which of K action units are active, scored by the mean F1 over units.

    Labels are (N, K): 1 active, 0 not active, NaN unlabelled. A head gives one logit for each action unit, of its
    probability; above one half it is predicted as active. Entries without label count nowhere.

    Counts are (K, 2, 2) int64: frames by truth (not active, active) and prediction.

    An action unit that is active in no test frame is left out of the mean. scikit-learn's ``f1_score``, with which
    challenges are scored, gives it 0; all units of the challenge are active somewhere, so that both agree there.

    Reference: the protocol of the ABAW action unit challenge: the unweighted mean of the F1 of all action units
    (https://affective-behavior-analysis-in-the-wild.github.io/6th/).
    """

    part: ClassVar[str] = "action unit"
    metric_name: ClassVar[str] = "mean F1"
    loss_options: ClassVar[frozenset[str]] = frozenset({"loss", "class_weights", "focal_gamma", "label_smoothing"})

    def problem(self, values: np.ndarray) -> str:
        """Return which label is not 0, 1 or NaN."""
        if wrong := wrong_columns(values, len(self.names)):
            return wrong
        bad = np.argwhere(~np.isnan(values) & (values != 0) & (values != 1))
        if not len(bad):
            return ""
        row, part = bad[0].tolist()
        return f"label {values[row, part]:g} of {self.names[part]} in row {row} is not 0, 1 or without value"

    def strata(self, values: np.ndarray) -> np.ndarray:
        """Return the number of active units, at most 3: 0..3, or -1 without any label."""
        active = np.minimum(np.nansum(values, axis=1), 3)
        found: np.ndarray = np.where(np.isnan(values).all(1), -1, active).astype(np.int64)
        return found

    def criterion(self, target: Tensor, options: LossOptions) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the binary cross-entropy or focal loss, the mean over the labels of a batch.

        With balanced weights, active and inactive frames of an action unit count alike. Label smoothing moves targets
        towards one half.
        """
        from torch.nn import functional

        active, inactive = (target == 1).sum(0), (target == 0).sum(0)
        number = active + inactive
        weights = None
        if options.class_weights == "balanced":
            weights = number / (2 * active.clamp(min=1)), number / (2 * inactive.clamp(min=1))

        def loss(logits: Tensor, truth: Tensor) -> Tensor:
            known, truth = ~truth.isnan(), truth.nan_to_num()
            smooth = truth * (1 - options.label_smoothing) + options.label_smoothing / 2
            each = functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
            if options.loss == "focal":
                surprise = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
                each = focal_factor(surprise, options.focal_gamma) * each
            weight = known.float()
            if weights is not None:
                weight = weight * (truth * weights[0] + (1 - truth) * weights[1])
            return (weight * each).sum() / weight.sum().clamp(min=1e-12)

        return loss

    def distributions(self, outputs: np.ndarray) -> list[np.ndarray]:
        """Return, for each action unit, the logits (n, 2) of not active and active."""
        return [np.stack([np.zeros(len(outputs)), outputs[:, index]], 1) for index in range(len(self.names))]

    def joined(self, distributions: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probability (n, K) that each action unit is active."""
        return np.stack([each[:, 1] for each in distributions], 1)

    def words(self, predictions: np.ndarray) -> np.ndarray:
        """Return the active units of each frame, (n,) str: ``AU6+AU12``, or ``none``."""
        names = np.asarray(self.names)
        return np.array(["+".join(names[row > 0.5].tolist()) or "none" for row in predictions], dtype=np.str_)

    def answers(self, predictions: np.ndarray) -> np.ndarray:
        """Return 1 for active units and 0 for others, (n, K) int64."""
        return (predictions > 0.5).astype(np.int64)

    def prior(self, values: np.ndarray) -> np.ndarray:
        """Return the share of active frames (K,) of each action unit."""
        known = ~np.isnan(values)
        share: np.ndarray = np.nansum(values, axis=0, dtype=np.float64) / np.maximum(known.sum(0), 1)
        return share

    def class_labels(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the labels (n,) of each action unit: 0, 1, or -1 unlabelled."""
        filled = np.where(np.isnan(values), -1, values).astype(np.int64)
        return list(filled.T)

    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        """Return frames (U, K, 2, 2) int64 by truth and prediction."""
        k = len(self.names)
        row, part = np.nonzero(~np.isnan(values))
        truth, found = values[row, part].astype(np.int64), (predictions[row, part] > 0.5).astype(np.int64)
        flat = np.bincount(((unit[row] * k + part) * 2 + truth) * 2 + found, minlength=units * k * 4)
        square: np.ndarray = flat.reshape(units, k, 2, 2)
        return square

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return the F1 of each action unit, (..., K); NaN where it is active in neither truth nor prediction."""
        hits = counts[..., 1, 1].astype(np.float64)
        both = counts[..., 1, :].sum(-1) + counts[..., :, 1].sum(-1)
        return ratio(2.0 * hits, both)

    def support(self, counts: np.ndarray) -> np.ndarray:
        """Return the frames in which each action unit is active, (..., K)."""
        frames: np.ndarray = counts[..., 1, :].sum(-1)
        return frames

    def truth(self, counts: np.ndarray) -> np.ndarray:
        """Return the inactive and active frames of each action unit, (..., 2 K)."""
        frames = counts.sum(-1)
        return frames.reshape(*frames.shape[:-2], -1)

    def constant(self, counts: np.ndarray) -> np.ndarray:
        """Return the counts of a predictor for which every unit is always active: F1 is 2 q / (1 + q) at a share q."""
        constant = np.zeros_like(counts)
        constant[..., 1] = counts.sum(-1)
        return constant

    def measures(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``accuracy``, ``precision`` and ``recall``, each the mean over the action units that have it.

        Without a labelled frame there is no accuracy, without a predicted one no precision, without an active one no
        recall.
        """
        hits = counts[..., 1, 1]
        right = hits + counts[..., 0, 0]
        return {
            "accuracy": _mean(right, counts.sum((-2, -1))),
            "precision": _mean(hits, counts[..., :, 1].sum(-1)),
            "recall": _mean(hits, counts[..., 1, :].sum(-1)),
        }

    def predicted(self, counts: np.ndarray) -> np.ndarray:
        """Return the share of frames in which each action unit is predicted as active, (..., K)."""
        return ratio(counts[..., :, 1].sum(-1), counts.sum((-2, -1)))


def _mean(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return the mean over action units of ``part / whole``, where the whole is not 0."""
    found, there = ratio(part, whole), whole > 0
    return ratio(np.where(there, found, 0.0).sum(-1), there.sum(-1))
