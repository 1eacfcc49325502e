"""Estimates over units and seeds: one inference for intervals and tests.

Units (subjects or videos) and training seeds are crossed: every seed is tested on every unit. A statistic varies with
both, so neither units nor seeds alone give its standard error. ``docs/statistics.md`` derives the estimator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MOST_PRIOR_DF = 8.0  # bound on the weight of other rows: a few variances can look equal by chance
_LEAST_SHARE = 1e-5  # of the mean variance, below which a variance counts as this share in the prior


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of two, with its interval.

    Attributes:
        value: mean over seeds.
        low: lower bound; NaN with fewer than two units.
        high: upper bound; NaN as ``low``.
        se: standard error of units and seeds together, with that of the bias correction; NaN as ``low``.
        n_units: U.
        n_seeds: S. With one seed, the interval is of one trained model and leaves out the variation between seeds.
        p: two-sided p of the value 0, from the same standard error; NaN with one seed, or as ``low``.
    """

    value: float
    low: float
    high: float
    se: float
    n_units: int
    n_seeds: int
    p: float = float("nan")


@dataclass(frozen=True)
class SeedVariance:
    """Variance between seeds of a mean over S seeds.

    Attributes:
        of_mean: variance of the mean, >= 0.
        df: degrees of freedom, > 0.
    """

    of_mean: float
    df: float

    @classmethod
    def of(cls, values: np.ndarray) -> SeedVariance:
        """Return the variance of the mean of (S,) values, S >= 2, with S - 1 degrees of freedom."""
        return cls(float(values.var(ddof=1)) / len(values), len(values) - 1.0)


def estimate(
    full: np.ndarray,
    left_out: np.ndarray,
    level: float = 0.95,
    within: tuple[float, float] = (-1.0, 1.0),
    seeds: SeedVariance | None = None,
) -> Estimate:
    """Estimate the mean over seeds of a statistic, with an interval and a p over units and seeds.

    Args:
        full: (S,) float; the statistic of all units.
        left_out: (S, U) float; the statistic without each unit.
        level: coverage, 0..1.
        within: least and greatest possible value of the statistic.
        seeds: variance between seeds. Not given: that of ``full``, with S - 1 degrees of freedom.

    Returns:
        The value without bias correction. Its bounds are centred on the value minus its jackknife bias. Their variance
        is that of the seeds plus that of the units, less the interaction of both, which is in either; at least that of
        the seeds. Student's t has the degrees of freedom of these two variances. ``p`` is the least ``1 - level`` at
        which the interval excludes 0. With one seed it is NaN.

    Reference: Cameron, Gelbach & Miller, Robust inference with multiway clustering (2011),
    doi:10.1198/jbes.2010.07136, equation 2.11, for the sum; Owen, The pigeonhole bootstrap (2007),
    doi:10.1214/07-AOAS122, for crossed effects; Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapters
    10 and 11, for bias and error; Satterthwaite (1946), doi:10.2307/3002019, for degrees of freedom.
    """
    from scipy.special import stdtr, stdtrit  # Student's t; importing scipy.stats would take a second

    n_seeds, n_units = left_out.shape
    value, nan = float(full.mean()), float("nan")
    if n_units < 2 or np.isnan(left_out).any():
        return Estimate(value, nan, nan, nan, n_units, n_seeds)
    left = left_out.mean(0)
    bias = (n_units - 1) * (float(left.mean()) - value)
    # A corrected value varies more than a plain one; the square of the correction accounts for that.
    of_units = (n_units - 1) * float(left.var()) + bias**2
    of_seeds, seeds_df = 0.0, 1.0
    if n_seeds > 1:
        seeds = seeds or SeedVariance.of(full)
        of_seeds, seeds_df = seeds.of_mean, seeds.df
        of_units = max(of_units - _interaction(left_out), 0.0)
    variance = of_units + of_seeds
    # Welch and Satterthwaite: each variance counts with its own degrees of freedom.
    spread = of_units**2 / _jackknife_df(left) + of_seeds**2 / seeds_df
    centre, se = value - bias, variance**0.5
    df = variance**2 / spread if spread > 0 else 1.0
    half_width = float(stdtrit(df, (1 + level) / 2)) * se
    low, high = np.clip([min(centre - half_width, value), max(centre + half_width, value)], *within)
    # The interval holds the value, so it excludes 0 on the side of the value only.
    distance = centre * np.sign(value)
    p = min(2 * float(stdtr(df, -distance / se)), 1.0) if se > 0 else float(distance <= 0)
    return Estimate(value, float(low), float(high), se, n_units, n_seeds, p if n_seeds > 1 else nan)


@dataclass(frozen=True)
class SeedPrior:
    """What the variances of a grid's rows say about each of them.

    Rows of one kind have variances that scatter around a common one, as chi-squared variables over their degrees of
    freedom. The wider the scatter beyond chance, the less a row borrows from the others.

    Attributes:
        variance: mean of the variances, weighted by their degrees of freedom.
        df: prior degrees of freedom, 0..8: the weight of ``variance`` against that of a row.
        total: degrees of freedom of all variances together, which no moderated variance exceeds.

    Reference: Smyth, Linear models and empirical Bayes methods for assessing differential expression (2004),
    doi:10.2202/1544-6115.1027, sections 3 and 6.2. There, ``df`` has no bound and ``variance`` is a geometric mean;
    with few rows of one or two degrees of freedom, that rejects too often (``benchmarks/aa.py``).
    """

    variance: float
    df: float
    total: float

    @classmethod
    def of(cls, variances: Sequence[float], df: Sequence[float]) -> SeedPrior:
        """Estimate the prior.

        Args:
            variances: (R,) > 0, one of each row.
            df: (R,) > 0, their degrees of freedom.
        """
        if not len(variances):
            return cls(0.0, 0.0, 0.0)
        found, freedom = np.asarray(variances, float), np.asarray(df, float)
        mean = float(np.average(found, weights=freedom))
        prior = _prior_df(np.maximum(found, _LEAST_SHARE * mean), freedom) if len(found) > 1 else 0.0
        return cls(mean, prior, float(freedom.sum()))

    def moderated(self, own: SeedVariance, n_seeds: int) -> SeedVariance:
        """Return a variance of a mean over ``n_seeds`` seeds, moved towards the prior."""
        if not own.of_mean:  # a fusion without random draws
            return own
        variance = (self.df * self.variance / n_seeds + own.df * own.of_mean) / (self.df + own.df)
        return SeedVariance(variance, min(self.df + own.df, max(self.total, own.df)))


def sum_of(parts: Sequence[SeedVariance], total: float) -> SeedVariance:
    """Return the variance of a sum of independent means.

    Args:
        parts: their variances.
        total: degrees of freedom of all data behind them: moderated variances share it.
    """
    variance = sum(part.of_mean for part in parts)
    spread = sum(part.of_mean**2 / part.df for part in parts)
    return SeedVariance(variance, min(variance**2 / spread, max(total, 1.0)) if spread > 0 else 1.0)


def _interaction(left_out: np.ndarray) -> float:
    """Return the variance of a mean over seeds and units that comes from their interaction, from (S, U) values."""
    seeds, units = left_out.shape
    rest = left_out - left_out.mean(0) - left_out.mean(1, keepdims=True) + left_out.mean()
    return float((units - 1) * (rest**2).sum() / (units * seeds * (seeds - 1)))


def _jackknife_df(left: np.ndarray) -> float:
    """Return the degrees of freedom of a jackknife variance: below U - 1 where few of the U units cause most of it.

    Reference: Shoemaker, Fixing the F test for equal variances (2003), doi:10.1198/0003130031441.
    """
    n, square = len(left), (left - left.mean()) ** 2
    if n < 4 or not square.any():
        return n - 1.0
    excess = float((square**2).mean() / square.mean() ** 2) - 3
    unbiased = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * excess + 6)
    return 2 / (max(unbiased, 0.0) / n + 2 / (n - 1))


def _prior_df(variances: np.ndarray, df: np.ndarray) -> float:
    """Return the prior degrees of freedom, from the variance of the logarithms beyond that of chance."""
    from scipy.special import digamma, polygamma

    logs = np.log(variances) - digamma(df / 2) + np.log(df / 2)
    beyond = float(logs.var(ddof=1) - polygamma(1, df / 2).mean())
    if beyond <= polygamma(1, _MOST_PRIOR_DF / 2):
        return _MOST_PRIOR_DF
    half = 0.5 + 1 / beyond  # Newton's iteration for the inverse of the trigamma function converges from below
    for _ in range(50):
        trigamma = polygamma(1, half)
        step = float(trigamma * (1 - trigamma / beyond) / polygamma(2, half))
        half += step
        if abs(step) < 1e-8 * half:
            break
    return 2 * half
