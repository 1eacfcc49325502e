"""The estimate of a contrast with moderated seed variances, put together from counts by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from toy_tasks import leave_one_out

from fusionkit.stats.crossed import Estimate, SeedPrior, SeedVariance, estimate, sum_of


def score_estimate(own: np.ndarray, every: Sequence[np.ndarray]) -> Estimate:
    """The score of a row whose grid has the counts ``every``, each of a head of its own."""
    return contrast([(1.0, own)], every, (0.0, 1.0))


def difference_estimate(a: np.ndarray, b: np.ndarray, every: Sequence[np.ndarray]) -> Estimate:
    """The difference of two rows with heads of their own."""
    return contrast([(1.0, a), (-1.0, b)], every, (-1.0, 1.0))


def contrast(
    terms: Sequence[tuple[float, np.ndarray]], every: Sequence[np.ndarray], within: tuple[float, float]
) -> Estimate:
    """A weighted sum of rows with heads of their own: weights and counts (S, U, C, C)."""
    parts = [(weight * full, weight * left) for weight, counts in terms for full, left in [leave_one_out(counts)]]
    full, left = sum(full for full, _ in parts), sum(left for _, left in parts)
    seeds = len(full)
    if seeds < 2:
        return estimate(full, left, within=within)
    scores = [leave_one_out(counts)[0] for counts in every if len(counts) > 1]
    varied = [each for each in scores if each.var() > 0]
    own, total = [], 0.0
    for weight in dict.fromkeys(abs(weight) for weight, _ in terms):
        prior = SeedPrior.of([weight**2 * each.var(ddof=1) for each in varied], [len(each) - 1.0 for each in varied])
        total += prior.total
        own += [
            prior.moderated(SeedVariance.of(weight * leave_one_out(counts)[0]), seeds)
            for size, counts in terms
            if abs(size) == weight
        ]
    return estimate(full, left, within=within, seeds=sum_of(own, total))
