"""Percentile bootstrap over units: the interval that most papers report, as an alternative to the jackknife.

With few units its coverage is below the nominal level (``benchmarks/stats_validity.py``), so it is not the default.
Counts are (S, U, *shape) as in :mod:`fusionkit.stats.intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusionkit.contracts.task import Task
from fusionkit.stats.crossed import Estimate
from fusionkit.stats.intervals import check_counts


def bootstrap_estimate(
    task: Task,
    terms: Sequence[tuple[float, np.ndarray]],
    statistic: int = 0,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Estimate a weighted sum of scores, mean over seeds, with a percentile bootstrap interval.

    Args:
        task: that was counted.
        terms: weights with counts (S, U, *shape), of the same seeds and units in the same order; every unit has
            an annotated frame. A score has one term of weight 1, a difference two of weights 1 and -1.
        statistic: 0 for the metric over pooled frames, k + 1 for the score of part k.
        level: coverage, 0..1.
        resamples: number of draws of units, and of seeds, with replacement; the same for all terms.
        seed: random seed of the draws.

    Returns:
        The value of all units, the quantiles of the resamples as bounds and their standard deviation as error. ``p`` is
        twice the share of resamples beyond 0, on the rarer side; NaN with one seed. A part without score in a resample
        is left out of its mean.

    Raises:
        DataError: if the counts do not have this shape.

    Reference: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    shape = check_counts(task, terms[0][1]).shape
    draws, once = _draws(shape, resamples, seed), _all_once(shape)
    value = float(np.sum([weight * _scores(task, counts, *once, statistic) for weight, counts in terms]))
    found = np.sum([weight * _scores(task, counts, *draws, statistic) for weight, counts in terms], 0)
    seeds, units = shape[:2]
    if units < 2 or np.isnan(found).all():
        nan = float("nan")
        return Estimate(value, nan, nan, nan, units, seeds)
    low, high = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])
    rarer = 1 + min((found <= 0).sum(), (found >= 0).sum())
    p = min(2 * float(rarer) / (resamples + 1), 1.0) if seeds > 1 else float("nan")
    return Estimate(value, float(low), float(high), float(np.nanstd(found, ddof=1)), units, seeds, p)


def _draws(shape: tuple[int, ...], resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each unit, (R, U), and each seed, (R, S), is drawn."""
    rng = np.random.default_rng(seed)
    seeds, units = shape[:2]
    drawn_units = rng.multinomial(units, np.full(units, 1 / units), resamples)
    return drawn_units, rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)


def _all_once(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return weights that count each unit and each seed once."""
    seeds, units = shape[:2]
    return np.ones((1, units)), np.ones((1, seeds))


def _scores(task: Task, counts: np.ndarray, units: np.ndarray, seeds: np.ndarray, statistic: int) -> np.ndarray:
    """Return a statistic, mean over seeds, of units (R, U) and seeds (R, S) counted that many times: (R,)."""
    total = np.stack([(units.astype(float) @ each.reshape(len(each), -1)) for each in counts], axis=1)
    total = total.reshape(*total.shape[:2], *counts.shape[2:])
    if statistic:
        found = task.scores(total)[..., statistic - 1]
    else:
        found = task.metric(total, np.any(task.support(counts.sum(1)) > 0, axis=0))
    mean: np.ndarray = np.average(found, axis=1, weights=seeds)
    return mean
