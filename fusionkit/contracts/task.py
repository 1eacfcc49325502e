"""Task: what is predicted and how it is scored. There is one so far: one of C classes per frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SingleLabel:
    """One of C classes per frame, scored by macro-F1 over pooled frames.

    Reference: the protocol of the ABAW expression challenge: the unweighted mean of the per-class F1 over all annotated
    frames, pooled and not per video (https://affective-behavior-analysis-in-the-wild.github.io/6th/).
    """

    num_classes: int

    def counts(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return confusion counts (C, C) int64: rows are the truth, columns the prediction.

        Args:
            truth: (N,) int64 in 0..C-1.
            predicted: (N,) int64 in 0..C-1.
        """
        c = self.num_classes
        flat: np.ndarray = np.bincount(truth * c + predicted, minlength=c * c)
        square: np.ndarray = flat.reshape(c, c)
        return square

    def per_class_f1(self, counts: np.ndarray) -> np.ndarray:
        """Return the F1 of each class, (..., C), from confusion counts (..., C, C).

        It is NaN, not zero, for a class in neither the truth nor the predictions.
        """
        hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
        both = counts.sum(-1) + counts.sum(-2)
        f1: np.ndarray = np.divide(2.0 * hits, both, out=np.full(hits.shape, np.nan), where=both > 0)
        return f1

    def metric(self, counts: np.ndarray) -> float:
        """Return macro-F1 in 0..1 of one confusion matrix (C, C): the mean F1 of the classes in the truth.

        It is NaN if no frame is annotated.
        """
        present = counts.sum(-1) > 0
        return float(self.per_class_f1(counts)[present].mean()) if present.any() else float("nan")
