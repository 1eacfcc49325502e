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


def naive_interval(
    score: Callable[[Iterable[int]], float], per_seed: list[float], units: int, level: float = 0.95
) -> tuple[float, float, float]:
    """Lower bound, upper bound (neither clipped) and standard error, of a score of some of the units."""
    left_out = [score([v for v in range(units) if v != u]) for u in range(units)]
    middle, seeds = sum(left_out) / units, len(per_seed)
    centre = units * score(range(units)) - (units - 1) * middle  # the mean of the pseudo-values
    of_units = (units - 1) / units * sum((x - middle) ** 2 for x in left_out) + (centre - score(range(units))) ** 2
    freedom = units - 1.0
    if units > 3:
        excess = max(scipy_stats.kurtosis(left_out, fisher=True, bias=False), 0)
        freedom = 2 / (excess / units + 2 / (units - 1))  # of which the variance of a sample variance is made
    of_seeds, doubt = 0.0, of_units**2 / freedom
    if seeds > 1:
        of_seeds = np.var(per_seed, ddof=1) / seeds
        doubt += of_seeds**2 / (seeds - 1)
    se = math.sqrt(of_units + of_seeds)
    low, high = scipy_stats.t.interval(level, se**4 / doubt, loc=centre, scale=se)
    return low, high, se


def naive_difference(a: np.ndarray, b: np.ndarray, swapped: Iterable[int]) -> float:
    a, b = a.copy(), b.copy()
    for u in swapped:
        a[:, u], b[:, u] = b[:, u].copy(), a[:, u].copy()
    everyone = range(a.shape[1])
    return naive_score(a, everyone) - naive_score(b, everyone)
