"""Confusion counts for tests, and statistics of them as plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from scipy import stats as scipy_stats

PRIOR = np.array([0.5, 0.2, 0.15, 0.1, 0.05])
ROWS = 0.6 * np.eye(5) + 0.4 * PRIOR
Pair = tuple[np.ndarray, np.ndarray]


def make_pair(seed: int, units: int, seeds: int = 1, classes: int = 4, gain: float = 0.0) -> Pair:
    """Counts (S, U, C, C) of two models on the same frames; ``gain`` makes the first the better one."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 8, (units, classes))
    truth[:, 0] += 1

    def side(right: float) -> np.ndarray:
        rows = rng.dirichlet(np.ones(classes), (units, classes)) + right * np.eye(classes)
        rows /= rows.sum(-1, keepdims=True)
        return np.stack([rng.multinomial(truth, rows) for _ in range(seeds)])

    return side(1.0 + gain), side(1.0)


def simulate(rng: np.random.Generator, units: int, models: int, gain: float = 0.0) -> list[np.ndarray]:
    """Counts of exchangeable models on units of unequal size that differ in what they show and in how hard they are."""
    size = rng.lognormal(5, 0.7, units).astype(int) + 10
    truth = rng.multinomial(size, rng.dirichlet(8 * PRIOR, units))
    rows = [ROWS] * (models - 1) + [(1 - gain) * ROWS + gain * np.eye(5)]
    draws = [np.stack([rng.dirichlet(10 * row, units) for row in model], axis=1) for model in rows]
    return [rng.multinomial(truth, draw)[None] for draw in draws]


def naive_macro_f1(counts: np.ndarray, present: Iterable[int]) -> float:
    scores = []
    for c in present:
        hits = counts[c, c]
        missed, wrong = counts[c].sum() - hits, counts[:, c].sum() - hits
        if hits + missed + wrong:
            scores.append(2 * hits / (2 * hits + missed + wrong))
    return float(np.mean(scores))


def naive_score(counts: np.ndarray, kept: Iterable[int]) -> float:
    """Mean over seeds of the macro-F1 of some units, over the classes in the truth of all."""
    present = [c for c in range(counts.shape[-1]) if counts[:, :, c].sum()]
    return float(np.mean([naive_macro_f1(sum(seed[u] for u in kept), present) for seed in counts]))


def naive_estimate(
    score: Callable[[int, Iterable[int]], float], seeds: int, units: int, level: float = 0.95
) -> tuple[float, float, float, float]:
    """Lower and upper bound (neither clipped), standard error and p, of a score of one seed and some of the units.

    By the mean squares of the pseudo-values in a table of units and seeds with one entry in each place.
    """
    everyone = range(units)
    whole = [score(seed, everyone) for seed in range(seeds)]
    table = [
        [units * whole[seed] - (units - 1) * score(seed, [v for v in everyone if v != u]) for u in everyone]
        for seed in range(seeds)
    ]
    value, centre = sum(whole) / seeds, sum(map(sum, table)) / (units * seeds)
    unit_means = [sum(table[s][u] for s in range(seeds)) / seeds for u in everyone]
    of_units = sum((mean - centre) ** 2 for mean in unit_means) / (units - 1) / units + (centre - value) ** 2
    freedom = units - 1.0
    if units > 3:
        excess = max(scipy_stats.kurtosis(unit_means, fisher=True, bias=False), 0)
        freedom = 2 / (excess / units + 2 / (units - 1))  # of which the variance of a sample variance is made
    of_seeds = 0.0
    if seeds > 1:
        seed_means = [sum(row) / units for row in table]
        of_seeds = sum((each - value) ** 2 for each in whole) / (seeds - 1) / seeds
        of_both = sum(
            (table[s][u] - unit_means[u] - seed_means[s] + centre) ** 2 for s in range(seeds) for u in everyone
        ) / ((units - 1) * (seeds - 1) * units * seeds)
        of_units = max(of_units - of_both, 0.0)
    variance = of_units + of_seeds
    doubt = of_units**2 / freedom + of_seeds**2 / max(seeds - 1, 1)
    se, freedom = math.sqrt(variance), variance**2 / doubt
    low, high = scipy_stats.t.interval(level, freedom, loc=centre, scale=se)
    p = 2 * scipy_stats.t.sf(centre * math.copysign(1, value) / se, freedom)
    return low, high, se, min(p, 1.0)


def naive_difference(a: np.ndarray, b: np.ndarray, swapped: Iterable[int]) -> float:
    a, b = a.copy(), b.copy()
    for u in swapped:
        a[:, u], b[:, u] = b[:, u].copy(), a[:, u].copy()
    everyone = range(a.shape[1])
    return naive_score(a, everyone) - naive_score(b, everyone)
