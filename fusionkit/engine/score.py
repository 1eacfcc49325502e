"""Score: predictions to counts per unit (subject or video). Test labels are read only in this module."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit.contracts.task import Task

REVISION = 1  # raise when the same predictions give other scores than before


@dataclass(frozen=True, eq=False)
class SealedLabels:
    """Test labels. Only :func:`score` reads them, and :func:`truth_of` after scoring.

    Attributes:
        unit: (n,) str: the unit (subject or video) of each frame.
        clip: (n,) str: the clip of each frame.
        annotated: (n,) bool: frames that have a label.
    """

    _label: np.ndarray
    unit: np.ndarray
    clip: np.ndarray
    annotated: np.ndarray


@dataclass(frozen=True, eq=False)
class Score:
    """The score of one cell on the annotated test frames.

    Attributes:
        units: (U,) str, sorted: units with an annotated frame.
        counts: (U, *shape): what the task counts of each unit.
        diagnostics: measures that the counts do not give, by name.
    """

    units: np.ndarray
    counts: np.ndarray
    diagnostics: dict[str, float]


def score(task: Task, predictions: np.ndarray, sealed: SealedLabels) -> Score:
    """Score the predictions of every annotated test frame.

    Args:
        task: the prediction task.
        predictions: (n, O), one row per test frame.
        sealed: the labels of the test frames.
    """
    rows = np.flatnonzero(sealed.annotated)
    truth, found = sealed._label[rows], predictions[rows]  # noqa: SLF001  (the only place where they are read)
    units, counts = task.unit_counts(truth, found, sealed.unit[rows])
    return Score(units, counts, task.diagnostics(truth, found))


def truth_of(sealed: SealedLabels) -> np.ndarray:
    """Return the labels (n, ...) of scored test frames, to draw beside the predictions."""
    return sealed._label  # noqa: SLF001
