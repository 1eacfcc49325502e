"""Percentile bootstrap over units: the interval that most papers report, as an alternative to the jackknife.

With few units its coverage is below the nominal level (``benchmarks/stats_validity.py``), so it is not the default.
Counts are (S, U, C, C) integers as in :mod:`fusionkit.stats.intervals`.
"""

from __future__ import annotations

import numpy as np

from fusionkit.stats.intervals import Estimate, check_counts, check_paired, macro_f1


def bootstrap_interval(counts: np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Estimate macro-F1 over pooled frames, mean over seeds, with a percentile bootstrap interval.

    Args:
        counts: (S, U, C, C) integer; every unit has an annotated frame.
        level: coverage, 0..1.
        resamples: number of draws of units, and of seeds, with replacement.
        seed: random seed of the draws.

    Returns:
        The value of all units, the quantiles of the resamples as bounds and their standard deviation as error. A class
        that is in neither truth nor prediction of a resample is left out of its mean.

    Raises:
        DataError: if the counts do not have this shape and type.

    Reference: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    draws = _draws(check_counts(counts).shape, resamples, seed)
    return _estimate(_scores(counts, *_all_once(counts)), _scores(counts, *draws), counts.shape, level)


def bootstrap_difference(
    a: np.ndarray, b: np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Estimate macro-F1 of ``a`` minus that of ``b``, on the same resamples of units and seeds.

    Args:
        a: (S, U, C, C) integer.
        b: (S, U, C, C) integer; the same seeds and units in the same order.
        level: coverage, 0..1.
        resamples: number of draws of units, and of seeds, with replacement.
        seed: random seed of the draws.

    Returns:
        As :func:`bootstrap_interval`, of the difference.

    Raises:
        DataError: if ``a`` and ``b`` do not count the same frames.
    """
    check_paired(a, b)
    draws, whole = _draws(a.shape, resamples, seed), _all_once(a)
    return _estimate(_scores(a, *whole) - _scores(b, *whole), _scores(a, *draws) - _scores(b, *draws), a.shape, level)


def _draws(shape: tuple[int, ...], resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each unit, (R, U), and each seed, (R, S), is drawn."""
    rng = np.random.default_rng(seed)
    seeds, units = shape[:2]
    drawn_units = rng.multinomial(units, np.full(units, 1 / units), resamples)
    return drawn_units, rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)


def _all_once(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights that count each unit and each seed once."""
    seeds, units = counts.shape[:2]
    return np.ones((1, units)), np.ones((1, seeds))


def _scores(counts: np.ndarray, units: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return macro-F1, mean over seeds, of units (R, U) and seeds (R, S) counted that many times: (R,)."""
    total = np.stack([(units.astype(float) @ each.reshape(len(each), -1)) for each in counts], axis=1)
    present = counts.sum((0, 1, 3)) > 0
    f1 = macro_f1(total.reshape(*total.shape[:2], *counts.shape[2:]), present)
    mean: np.ndarray = np.average(f1, axis=1, weights=seeds)
    return mean


def _estimate(value: np.ndarray, resampled: np.ndarray, shape: tuple[int, ...], level: float) -> Estimate:
    seeds, units = shape[:2]
    if units < 2:
        nan = float("nan")
        return Estimate(float(value[0]), nan, nan, nan, units, seeds)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value[0]), float(low), float(high), float(resampled.std(ddof=1)), units, seeds)
