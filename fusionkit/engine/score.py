"""Score: probabilities to confusion counts per unit. Only here are test labels opened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit.contracts.dataset import UNLABELLED
from fusionkit.contracts.task import SingleLabel
from fusionkit.stats.intervals import ece

REVISION = 1  # raise when the same probabilities give other scores than before


@dataclass(frozen=True, eq=False)
class SealedLabels:
    """Test labels that nothing but :func:`score` reads, and :func:`truth_of` for what was scored.

    Attributes:
        unit: (n,) str: the unit of each frame.
        clip: (n,) str: the clip of each frame.
    """

    _label: np.ndarray
    unit: np.ndarray
    clip: np.ndarray

    @property
    def annotated(self) -> np.ndarray:
        """(n,) bool: which frames are annotated at all."""
        flags: np.ndarray = self._label != UNLABELLED
        return flags


@dataclass(frozen=True, eq=False)
class Score:
    """What one cell got on the annotated test frames.

    Attributes:
        units: (U,) str, sorted: the units with an annotated frame.
        counts: (U, C, C) int64 confusion counts; rows truth, columns prediction.
        ece: expected calibration error, 0..1.
        predicted: number of distinct classes predicted.
    """

    units: np.ndarray
    counts: np.ndarray
    ece: float
    predicted: int


def score(task: SingleLabel, probs: np.ndarray, sealed: SealedLabels) -> Score:
    """Score predictions on every annotated test frame.

    Args:
        task: says what counts.
        probs: (n, C), one row a test frame.
        sealed: the truth, one a test frame.
    """
    rows = np.flatnonzero(sealed.annotated)
    truth = sealed._label[rows]  # noqa: SLF001  (the one place that opens them)
    predicted = probs[rows].argmax(1)
    units, codes = np.unique(sealed.unit[rows], return_inverse=True)
    c = task.num_classes
    flat = np.bincount((codes * c + truth) * c + predicted, minlength=len(units) * c * c)
    counts = flat.reshape(len(units), c, c)
    return Score(units, counts, ece(probs[rows], truth), len(np.unique(predicted)))


def truth_of(sealed: SealedLabels) -> np.ndarray:
    """The labels of test frames, -1 where there is none: to draw beside predictions that have been scored."""
    return sealed._label  # noqa: SLF001


def dev_metric(task: SingleLabel, probs: np.ndarray, labels: np.ndarray) -> float:
    """The metric on dev frames: what every choice is made on.

    Args:
        task: says what counts.
        probs: (n, C).
        labels: (n,) int64, -1 unlabelled.
    """
    rows = np.flatnonzero(labels != UNLABELLED)
    return task.metric(task.counts(labels[rows], probs[rows].argmax(1)))
