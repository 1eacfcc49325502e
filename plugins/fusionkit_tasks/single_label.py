"""Tasks with one of C classes per frame, scored from confusion counts."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from fusionkit.contracts import Task
from fusionkit_tasks.ratio import ratio


class SingleLabel(Task):
    """One of C classes per frame, scored by macro-F1 over pooled frames.

    Counts are confusion matrices (C, C) int64: rows are the truth, columns the prediction.
    """

    exclusive: ClassVar[bool] = True

    @abstractmethod
    def hard_labels(self, values: np.ndarray) -> np.ndarray:
        """Return the class of each frame, (N,) int64, -1 unlabelled."""

    def strata(self, values: np.ndarray) -> np.ndarray:
        """Return the class of each frame."""
        return self.hard_labels(values)

    def words(self, predictions: np.ndarray) -> np.ndarray:
        """Return the most probable class of each frame, (n,) str."""
        found: np.ndarray = np.asarray(self.names)[predictions.argmax(1)]
        return found

    def answers(self, predictions: np.ndarray) -> np.ndarray:
        """Return the index of the most probable class, (n,) int64."""
        found: np.ndarray = predictions.argmax(1)
        return found

    def prior(self, values: np.ndarray) -> np.ndarray:
        """Return the class shares (C,) of labelled frames."""
        hard = self.hard_labels(values)
        counts = np.bincount(hard[hard >= 0], minlength=len(self.names))
        shares: np.ndarray = counts / counts.sum()
        return shares

    def counts(self, values: np.ndarray, predictions: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
        """Return confusion counts (U, C, C) int64; the prediction is the class with the highest probability."""
        c, truth, found = len(self.names), self.hard_labels(values), predictions.argmax(1)
        cell = ((unit * c + truth) * c + found)[truth >= 0]
        flat = np.bincount(cell, minlength=units * c * c)
        square: np.ndarray = flat.reshape(units, c, c)
        return square

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return the F1 of each class, (..., C).

        It is NaN, not zero, for a class in neither the truth nor the predictions.
        """
        hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
        both = counts.sum(-1) + counts.sum(-2)
        return ratio(2.0 * hits, both)

    def support(self, counts: np.ndarray) -> np.ndarray:
        """Return the frames of each class in the truth, (..., C)."""
        frames: np.ndarray = counts.sum(-1)
        return frames

    def truth(self, counts: np.ndarray) -> np.ndarray:
        """Return the frames of each class in the truth, (..., C)."""
        return self.support(counts)

    def constant(self, counts: np.ndarray) -> np.ndarray:
        """Return the counts of a classifier that always predicts the most frequent class in the truth.

        Of all classifiers that always predict the same class it has the best macro-F1: 2 q / (1 + q) / C, where q is
        the share of that class among the frames and C the number of classes in the truth. Of equally frequent classes
        it is the first. Random guessing can reach more: with C equally frequent classes 1 / C instead of
        2 / (1 + C) / C.
        """
        constant = np.zeros_like(counts)
        total = counts.sum((*range(counts.ndim - 2), -1))
        constant[..., int(total.argmax())] = counts.sum(-1)
        return constant

    def measures(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``accuracy``, the share of correct frames, and ``uar``, the mean recall of classes in the truth."""
        truth = counts.sum(-1)
        hits = np.diagonal(counts, axis1=-2, axis2=-1)
        recall = ratio(hits, truth)
        return {
            "accuracy": ratio(hits.sum(-1), truth.sum(-1)),
            "uar": ratio(np.where(truth > 0, recall, 0.0).sum(-1), (truth > 0).sum(-1)),
        }

    def diagnostics(self, values: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
        """Return ``ece``, the expected calibration error, and ``predicted_classes``, the number of them."""
        return {
            "ece": calibration_error(predictions, self.hard_labels(values)),
            "predicted_classes": len(np.unique(predictions.argmax(1))),
        }

    def predicted(self, counts: np.ndarray) -> np.ndarray:
        """Return the share of frames that is predicted as each class, (..., C)."""
        return ratio(counts.sum(-2), counts.sum((-2, -1))[..., None])

    def confusion(self, counts: np.ndarray) -> np.ndarray:
        """Return the counts."""
        return counts


def calibration_error(probs: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy.

    Args:
        probs: (N, C), rows sum to one.
        truth: (N,) integer in 0..C-1.
        bins: number of bins of equal width over 0..1, each including its upper edge.

    Returns:
        0..1; NaN if N is 0.

    Reference: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), equation 3.
    """
    if len(probs) == 0:
        return float("nan")
    confidence = probs.max(1).astype(np.float64)
    gap = (probs.argmax(1) == truth) - confidence
    bin_of = np.digitize(confidence, np.linspace(0.0, 1.0, bins + 1)[1:-1], right=True)
    return float(np.abs(np.bincount(bin_of, weights=gap, minlength=bins)).sum() / len(probs))
