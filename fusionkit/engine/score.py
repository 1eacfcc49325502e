"""Score: probabilities to confusion counts per unit (subject or video). Test labels are read only in this module."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit.contracts.dataset import UNLABELLED
from fusionkit.contracts.task import SingleLabel
from fusionkit.stats.intervals import ece

REVISION = 1  # raise when the same probabilities give other scores than before


@dataclass(frozen=True, eq=False)
class SealedLabels:
    """Test labels. Only :func:`score` reads them, and :func:`truth_of` after scoring.

    Attributes:
        unit: (n,) str: the unit (subject or video) of each frame.
        clip: (n,) str: the clip of each frame.
    """

    _label: np.ndarray
    unit: np.ndarray
    clip: np.ndarray

    @property
    def annotated(self) -> np.ndarray:
        """(n,) bool: frames that have a label."""
        flags: np.ndarray = self._label != UNLABELLED
        return flags


@dataclass(frozen=True, eq=False)
class Score:
    """The score of one cell on the annotated test frames.

    Attributes:
        units: (U,) str, sorted: units with an annotated frame.
        counts: (U, C, C) int64 confusion counts; rows truth, columns prediction.
        ece: expected calibration error, 0..1.
        predicted: number of distinct classes predicted.
    """

    units: np.ndarray
    counts: np.ndarray
    ece: float
    predicted: int


def score(task: SingleLabel, probs: np.ndarray, sealed: SealedLabels) -> Score:
    """Score the predictions of every annotated test frame.

    Args:
        task: the prediction task.
        probs: (n, C), one row per test frame.
        sealed: the labels of the test frames.
    """
    rows = np.flatnonzero(sealed.annotated)
    truth = sealed._label[rows]  # noqa: SLF001  (the only place where they are read)
    predicted = probs[rows].argmax(1)
    units, codes = np.unique(sealed.unit[rows], return_inverse=True)
    c = task.num_classes
    flat = np.bincount((codes * c + truth) * c + predicted, minlength=len(units) * c * c)
    counts = flat.reshape(len(units), c, c)
    return Score(units, counts, ece(probs[rows], truth), len(np.unique(predicted)))


def truth_of(sealed: SealedLabels) -> np.ndarray:
    """Return the labels of scored test frames, to draw beside the predictions; -1 is unlabelled."""
    return sealed._label  # noqa: SLF001


def dev_metric(task: SingleLabel, probs: np.ndarray, labels: np.ndarray) -> float:
    """Compute the metric on dev frames, by which every choice is made.

    Args:
        task: the prediction task.
        probs: (n, C).
        labels: (n,) int64, -1 unlabelled.
    """
    rows = np.flatnonzero(labels != UNLABELLED)
    return task.metric(task.counts(labels[rows], probs[rows].argmax(1)))
