"""Intervals, paired tests and calibration error from confusion counts per unit (subject or video).

Counts are (S, U, C, C) integers: S seeds, U units, C classes; rows are the truth, columns the prediction. Units are
resampled, not frames: errors on frames of one person are correlated.
"""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.task import SingleLabel
from fusionkit.errors import DataError
from fusionkit.stats.crossed import Estimate, estimate
from fusionkit.stats.permutation import UnitSwaps, share_as_extreme

FEW_UNITS = 20  # below this many units, intervals and tests get a warning


def macro_f1(counts: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
    """Return the mean F1 of the present classes.

    Args:
        counts: (..., C, C).
        present: (..., C) bool, the classes to average; default: those in the truth of each matrix. A class among them
            that is in neither truth nor prediction of a matrix has no F1 there and is left out of that mean.

    Returns:
        (...) float64 in 0..1; NaN where no class has an F1.
    """
    return _mean(SingleLabel(counts.shape[-1]).per_class_f1(counts), counts, present)


def uar(counts: np.ndarray) -> np.ndarray:
    """Return the unweighted mean recall of classes in the truth: (..., C, C) to (...) in 0..1; NaN without frames."""
    truth = counts.sum(-1)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return _mean(_ratio(hits, truth), counts, None)


def accuracy(counts: np.ndarray) -> np.ndarray:
    """Return the share of correct frames: (..., C, C) to (...) in 0..1; NaN without frames."""
    return _ratio(np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1)))


def interval(counts: np.ndarray, level: float = 0.95) -> Estimate:
    """Estimate macro-F1 over pooled frames, mean over seeds, with a delete-one-unit jackknife interval.

    Args:
        counts: (S, U, C, C) integer; every unit has an annotated frame.
        level: coverage, 0..1.

    Returns:
        As :func:`fusionkit.stats.crossed.estimate`; clipped to 0..1. With few units the F1 of a rare class is biased
        downwards, so bounds are centred on the bias-corrected value.

    Raises:
        DataError: if the counts do not have this shape and type.
    """
    return estimate(*leave_one_out(check_counts(counts)), level, within=(0.0, 1.0))


def paired_difference(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Estimate:
    """Estimate macro-F1 of ``a`` minus that of ``b`` on the same units and seeds, with its interval.

    Args:
        a: (S, U, C, C) integer.
        b: (S, U, C, C) integer; the same seeds and units in the same order.
        level: coverage, 0..1.

    Returns:
        As :func:`interval`, of the difference; clipped to -1..1.

    Raises:
        DataError: if ``a`` and ``b`` do not count the same frames.
    """
    check_paired(a, b)
    (full_a, left_a), (full_b, left_b) = leave_one_out(a), leave_one_out(b)
    return estimate(full_a - full_b, left_a - left_b, level)


def permutation_p(a: np.ndarray, b: np.ndarray, permutations: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p of no difference in macro-F1, by swapping whole units between ``a`` and ``b``.

    A swap moves all seeds of a unit. If there are at most ``permutations`` swaps, all are evaluated; otherwise that
    many are drawn, the same ones for every comparison with the same number of units and the same ``seed``.

    Args:
        a: (S, U, C, C) integer.
        b: (S, U, C, C) integer; the same seeds and units in the same order.
        permutations: maximum number of swaps to draw.
        seed: random seed of the draw.

    Returns:
        A value in (0, 1]; with drawn swaps at least 1 / (permutations + 1).

    Raises:
        DataError: if ``a`` and ``b`` do not count the same frames.

    Reference: Phipson & Smyth, Permutation p-values should never be zero (2010), doi:10.2202/1544-6115.1585.
    """
    check_paired(a, b)
    swaps = UnitSwaps.of(a, b)
    return float(share_as_extreme(swaps, swaps.difference, permutations, seed))


def class_permutation_p(a: np.ndarray, b: np.ndarray, permutations: int = 10_000, seed: int = 0) -> np.ndarray:
    """Return the p of no difference in the F1 of each class, as :func:`permutation_p` does, from the same swaps.

    Args:
        a: (S, U, C, C) integer.
        b: (S, U, C, C) integer; the same seeds and units in the same order.
        permutations: maximum number of swaps to draw.
        seed: random seed of the draw.

    Returns:
        (C,) in (0, 1], not corrected for C tests; NaN for a class that is not in the truth.

    Raises:
        DataError: if ``a`` and ``b`` do not count the same frames.
    """
    check_paired(a, b)
    swaps = UnitSwaps.of(a, b)
    p = np.full(a.shape[-1], np.nan)
    p[swaps.classes] = share_as_extreme(swaps, swaps.class_differences, permutations, seed)
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


def ece(probs: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy.

    Args:
        probs: (N, C), rows sum to one.
        truth: (N,) integer in 0..C-1.
        bins: number of bins of equal width over 0..1, each including its upper edge.

    Returns:
        0..1; NaN if N is 0.

    Raises:
        DataError: if the shapes do not match.

    Reference: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), equation 3.
    """
    if probs.ndim != 2 or truth.shape != probs.shape[:1]:
        raise DataError(f"calibration needs probabilities (N, C) and labels (N,), not {probs.shape} and {truth.shape}")
    if len(probs) == 0:
        return float("nan")
    confidence = probs.max(1).astype(np.float64)
    gap = (probs.argmax(1) == truth) - confidence
    bin_of = np.digitize(confidence, np.linspace(0.0, 1.0, bins + 1)[1:-1], right=True)
    return float(np.abs(np.bincount(bin_of, weights=gap, minlength=bins)).sum() / len(probs))


def _mean(values: np.ndarray, counts: np.ndarray, present: np.ndarray | None) -> np.ndarray:
    """Return the mean over classes (..., C) of values that are defined and present."""
    valid = (counts.sum(-1) > 0 if present is None else present) & ~np.isnan(values)
    return _ratio(np.where(valid, values, 0.0).sum(-1), valid.sum(-1))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return ``part / whole``, NaN where the whole is 0."""
    ratio: np.ndarray = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return ratio


def check_counts(counts: np.ndarray) -> np.ndarray:
    """Return the counts after checking them.

    Raises:
        DataError: if they are not (S, U, C, C) integers, or a unit has no annotated frame.
    """
    shape = counts.shape
    if counts.ndim != 4 or shape[2] != shape[3] or 0 in shape or counts.dtype.kind not in "iu":
        raise DataError(
            f"confusion counts are {counts.dtype} {shape}",
            hint="they must be integers (seeds, units, classes, classes), no axis empty",
        )
    empty = np.flatnonzero((counts.sum((2, 3)) == 0).any(0))
    if len(empty):
        raise DataError(f"unit {empty[0]} of the confusion counts has no annotated frame", hint="leave out such units")
    return counts


def check_paired(a: np.ndarray, b: np.ndarray) -> None:
    """Check that two arrays of counts count the same frames.

    Raises:
        DataError: if shapes, or the truth of some unit or seed, differ.
    """
    if check_counts(a).shape != check_counts(b).shape:
        raise DataError(
            f"paired confusion counts differ in shape: {a.shape} and {b.shape}",
            hint="both need the same seeds and units",
        )
    truth = a.sum(-1)
    wrong = np.flatnonzero((truth != truth[:1]).any((0, 2)) | (truth != b.sum(-1)).any((0, 2)))
    if len(wrong):
        raise DataError(
            f"paired confusion counts differ in the truth of unit {wrong[0]}",
            hint="both need the same frames in the same order",
        )


def leave_one_out(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return macro-F1 of all units, (S,), and without each of them, (S, U), over one set of classes."""
    total = counts.sum(1, keepdims=True)
    present = total.sum((0, 1, 3)) > 0
    return macro_f1(total, present)[:, 0], macro_f1(total - counts, present)


def leave_one_out_scores(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return macro-F1 and the F1 of each class, on all units and without each of them.

    Args:
        counts: (S, U, C, C) integer; every unit has an annotated frame.

    Returns:
        (S, 1 + C) and (S, U, 1 + C) float in 0..1, macro-F1 first. A class in the truth of one unit is NaN without each
        unit, because no frame of it would be left; a class in the truth of none is NaN throughout.

    Raises:
        DataError: if the counts do not have this shape and type.
    """
    full, left = leave_one_out(check_counts(counts))
    f1 = SingleLabel(counts.shape[-1]).per_class_f1
    total = counts.sum(1, keepdims=True)
    units_with = (counts[0].sum(-1) > 0).sum(0)
    classes = np.where(units_with > 0, f1(total)[:, 0], np.nan)
    without = np.where(units_with > 1, f1(total - counts), np.nan)
    return np.column_stack([full, classes]), np.concatenate([left[..., None], without], -1)
