"""Intervals and paired differences of the F1 of each class, computed as those of macro-F1.

Counts are (S, U, C, C) integers as in :mod:`fusionkit.stats.intervals`. A class in the truth of a single unit has a
value and no interval, because without that unit no frame of it is left. A class in the truth of no unit is NaN
throughout.
"""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.task import SingleLabel
from fusionkit.stats.intervals import Estimate, check_counts, check_paired, jackknife_estimate


def class_intervals(counts: np.ndarray, level: float = 0.95) -> list[Estimate]:
    """Estimate the F1 of each class over pooled frames, mean over seeds, with its interval.

    Args:
        counts: (S, U, C, C) integer; every unit has an annotated frame.
        level: coverage, 0..1.

    Returns:
        C estimates, as of :func:`fusionkit.stats.intervals.interval`; clipped to 0..1.

    Raises:
        DataError: if the counts do not have this shape and type.
    """
    full, left_out = _leave_one_out(check_counts(counts))
    return _estimates(full, left_out, _units_with(counts), level, (0.0, 1.0))


def class_differences(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> list[Estimate]:
    """Estimate the F1 of each class in ``a`` minus that in ``b``, on the same units and seeds, with its interval.

    Args:
        a: (S, U, C, C) integer.
        b: (S, U, C, C) integer; the same seeds and units in the same order.
        level: coverage, 0..1.

    Returns:
        C estimates, as of :func:`fusionkit.stats.intervals.paired_difference`; clipped to -1..1.

    Raises:
        DataError: if ``a`` and ``b`` do not count the same frames.
    """
    check_paired(a, b)
    (full_a, left_a), (full_b, left_b) = _leave_one_out(a), _leave_one_out(b)
    return _estimates(full_a - full_b, left_a - left_b, _units_with(a), level, (-1.0, 1.0))


def _leave_one_out(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the F1 of each class on all units, (S, C), and without each of them, (S, U, C)."""
    f1 = SingleLabel(counts.shape[-1]).per_class_f1
    total = counts.sum(1, keepdims=True)
    return f1(total)[:, 0], f1(total - counts)


def _units_with(counts: np.ndarray) -> np.ndarray:
    """Return the number of units whose truth contains each class: (C,) int."""
    units: np.ndarray = (counts[0].sum(-1) > 0).sum(0)
    return units


def _estimates(
    full: np.ndarray, left_out: np.ndarray, units_with: np.ndarray, level: float, within: tuple[float, float]
) -> list[Estimate]:
    nan = float("nan")
    found = []
    for name, units in enumerate(units_with):
        if units > 1:
            found.append(jackknife_estimate(full[:, name], left_out[..., name], level, within))
            continue
        value = float(full[:, name].mean()) if units else nan
        found.append(Estimate(value, nan, nan, nan, left_out.shape[1], len(full)))
    return found
