"""Intervals and paired tests from the counts of units (subjects or videos).

Counts are (S, U, *shape) arrays: S seeds, U units, and what a :class:`fusionkit.contracts.task.Task` counts of the
frames of a unit. Units are resampled, not frames: errors on frames of one person are correlated.
"""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.task import Task
from fusionkit.errors import DataError
from fusionkit.stats.crossed import Estimate, estimate
from fusionkit.stats.permutation import UnitSwaps, share_as_extreme

FEW_UNITS = 20  # below this many units, intervals and tests get a warning


def interval(task: Task, counts: np.ndarray, level: float = 0.95) -> Estimate:
    """Estimate the metric over pooled frames, mean over seeds, with a delete-one-unit jackknife interval.

    Args:
        task: that was counted.
        counts: (S, U, *shape); every unit has an annotated frame.
        level: coverage, 0..1.

    Returns:
        As :func:`fusionkit.stats.crossed.estimate`; clipped to the range of the metric. With few units the F1 of a rare
        class is biased downwards, so bounds are centred on the bias-corrected value.

    Raises:
        DataError: if the counts do not have this shape.
    """
    return estimate(*leave_one_out(task, check_counts(task, counts)), level, within=(task.least, 1.0))


def paired_difference(task: Task, a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Estimate:
    """Estimate the metric of ``a`` minus that of ``b`` on the same units and seeds, with its interval.

    Args:
        task: that was counted.
        a: (S, U, *shape).
        b: (S, U, *shape); the same seeds and units in the same order.
        level: coverage, 0..1.

    Returns:
        As :func:`interval`, of the difference; clipped to the range of differences.

    Raises:
        DataError: if ``a`` and ``b`` do not count the same frames.
    """
    check_paired(task, a, b)
    (full_a, left_a), (full_b, left_b) = leave_one_out(task, a), leave_one_out(task, b)
    return estimate(full_a - full_b, left_a - left_b, level, within=(task.least - 1, 1 - task.least))


def permutation_p(task: Task, a: np.ndarray, b: np.ndarray, permutations: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p of no difference in the metric, by swapping whole units between ``a`` and ``b``.

    A swap moves all seeds of a unit. If there are at most ``permutations`` swaps, all are evaluated; otherwise that
    many are drawn, the same ones for every comparison with the same number of units and the same ``seed``.

    Args:
        task: that was counted.
        a: (S, U, *shape).
        b: (S, U, *shape); the same seeds and units in the same order.
        permutations: maximum number of swaps to draw.
        seed: random seed of the draw.

    Returns:
        A value in (0, 1]; with drawn swaps at least 1 / (permutations + 1).

    Raises:
        DataError: if ``a`` and ``b`` do not count the same frames.

    Reference: Phipson & Smyth, Permutation p-values should never be zero (2010), doi:10.2202/1544-6115.1585.
    """
    check_paired(task, a, b)
    swaps = UnitSwaps.of(task, a, b)
    return float(share_as_extreme(swaps, swaps.difference, permutations, seed))


def part_permutation_p(
    task: Task, a: np.ndarray, b: np.ndarray, permutations: int = 10_000, seed: int = 0
) -> np.ndarray:
    """Return the p of no difference in the score of each part, as :func:`permutation_p` does, from the same swaps.

    Args:
        task: that was counted.
        a: (S, U, *shape).
        b: (S, U, *shape); the same seeds and units in the same order.
        permutations: maximum number of swaps to draw.
        seed: random seed of the draw.

    Returns:
        (K,) in (0, 1], not corrected for K tests; NaN for a part that cannot be scored.

    Raises:
        DataError: if ``a`` and ``b`` do not count the same frames.
    """
    check_paired(task, a, b)
    swaps = UnitSwaps.of(task, a, b)
    p = np.full(len(swaps.present), np.nan)
    p[swaps.present] = share_as_extreme(swaps, swaps.part_differences, permutations, seed)
    return p


def holm(p: np.ndarray) -> np.ndarray:
    """Return the Holm-Bonferroni adjusted p of a family of tests.

    Args:
        p: (n,) in 0..1; NaN means no test: it stays NaN and does not count.

    Returns:
        (n,) in 0..1.

    Reference: Holm, A simple sequentially rejective multiple test procedure (1979), Scand. J. Statist. 6, 65-70.
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


def check_counts(task: Task, counts: np.ndarray) -> np.ndarray:
    """Return the counts after checking them.

    Raises:
        DataError: if they are not (S, U, *shape), or a unit has no annotated frame.
    """
    fits = counts.ndim > 2 and 0 not in counts.shape and counts.dtype.kind in "iuf"
    if not fits or task.support(counts).shape != (*counts.shape[:2], len(task.names)):
        raise DataError(
            f"counts are {counts.dtype} {counts.shape}",
            hint="they must be what the task counts, (seeds, units, ...), no axis empty",
        )
    empty = np.flatnonzero((~task.truth(counts).any(-1)).any(0))
    if len(empty):
        raise DataError(f"unit {empty[0]} of the counts has no annotated frame", hint="leave out such units")
    return counts


def check_paired(task: Task, a: np.ndarray, b: np.ndarray) -> None:
    """Check that two arrays of counts count the same frames.

    Raises:
        DataError: if shapes, or the truth of some unit or seed, differ.
    """
    if check_counts(task, a).shape != check_counts(task, b).shape:
        raise DataError(
            f"paired counts differ in shape: {a.shape} and {b.shape}",
            hint="both need the same seeds and units",
        )
    truth, other = task.truth(a), task.truth(b)
    wrong = np.flatnonzero((truth != truth[:1]).any((0, 2)) | (truth != other).any((0, 2)))
    if len(wrong):
        raise DataError(
            f"paired counts differ in the truth of unit {wrong[0]}",
            hint="both need the same frames in the same order",
        )


def leave_one_out(task: Task, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the metric of all units, (S,), and without each of them, (S, U), over one set of parts."""
    total = counts.sum(1, keepdims=True)
    present: np.ndarray = np.any(task.support(total) > 0, axis=(0, 1))
    return task.metric(total, present)[:, 0], task.metric(total - counts, present)


def leave_one_out_scores(task: Task, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the metric and the score of each part, on all units and without each of them.

    Args:
        task: that was counted.
        counts: (S, U, *shape); every unit has an annotated frame.

    Returns:
        (S, 1 + K) and (S, U, 1 + K) float, the metric first. A part that only one unit supports is NaN without each
        unit, because no frame of it would be left; a part that none supports is NaN throughout.

    Raises:
        DataError: if the counts do not have this shape.
    """
    full, left = leave_one_out(task, check_counts(task, counts))
    total = counts.sum(1, keepdims=True)
    units_with = (task.support(counts[0]) > 0).sum(0)
    parts = np.where(units_with > 0, task.scores(total)[:, 0], np.nan)
    without = np.where(units_with > 1, task.scores(total - counts), np.nan)
    return np.column_stack([full, parts]), np.concatenate([left[..., None], without], -1)
