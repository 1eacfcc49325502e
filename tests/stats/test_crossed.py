"""One inference over units and seeds: against loops, simulations of known variances, and the literature's formulas."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize
from scipy import special as scipy_special

from fusionkit.stats.crossed import SeedPrior, SeedVariance, estimate, sum_of


def table(rng: np.random.Generator, sizes: tuple[int, int], spread: tuple[float, float, float]) -> np.ndarray:
    """Values (S, U) with mean 0 and these standard deviations of seeds, units and both."""
    seeds, units = sizes
    of_seeds, of_units, of_both = spread
    return (
        of_seeds * rng.normal(size=(seeds, 1))
        + of_units * rng.normal(size=(1, units))
        + of_both * rng.normal(size=(seeds, units))
    )


def estimate_of(values: np.ndarray, seeds: SeedVariance | None = None):
    """Estimate the mean of a table, a statistic without bias."""
    units = values.shape[1]
    total = values.sum(1, keepdims=True)
    return estimate(values.mean(1), (total - values) / (units - 1), within=(-np.inf, np.inf), seeds=seeds)


def naive_mean_squares(values: np.ndarray) -> tuple[float, float, float]:
    """Mean squares of units, seeds and both, by loops."""
    seeds, units = values.shape
    mean = values.mean()
    of_units = seeds * sum((values[:, u].mean() - mean) ** 2 for u in range(units)) / (units - 1)
    of_seeds = units * sum((values[s].mean() - mean) ** 2 for s in range(seeds)) / (seeds - 1)
    both = sum(
        (values[s, u] - values[:, u].mean() - values[s].mean() + mean) ** 2 for s in range(seeds) for u in range(units)
    )
    return of_units, of_seeds, both / ((units - 1) * (seeds - 1))


@pytest.mark.parametrize("spread", [(1.0, 1.0, 1.0), (0.2, 2.0, 0.5), (2.0, 0.0, 1.0)])
def test_the_variance_of_a_mean_is_that_of_the_two_way_table(spread: tuple[float, float, float]) -> None:
    values = table(np.random.default_rng(0), (4, 30), spread)
    of_units, of_seeds, both = naive_mean_squares(values)
    expected = max(of_units + of_seeds - both, of_seeds) / values.size
    assert estimate_of(values).se ** 2 == pytest.approx(expected)


@pytest.mark.slow
def test_the_interaction_is_not_counted_twice() -> None:
    rng = np.random.default_rng(1)
    errors, promised, summed = [], [], []
    for _ in range(400):
        values = table(rng, (5, 40), (0.0, 0.0, 1.0))
        found = estimate_of(values)
        errors.append(found.value)
        promised.append(found.se**2)
        of_units, of_seeds, _ = naive_mean_squares(values)
        summed.append((of_units + of_seeds) / values.size)
    assert np.mean(promised) == pytest.approx(np.var(errors), rel=0.35)
    assert np.mean(summed) > 1.6 * np.var(errors)


@pytest.mark.parametrize(
    ("seeds", "units", "spread"), [(5, 20, (0.3, 1, 1)), (3, 70, (0.2, 1, 1)), (10, 20, (1, 1, 0.5))]
)
def test_intervals_cover_the_mean_of_crossed_effects(
    seeds: int, units: int, spread: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(2)
    found = [estimate_of(table(rng, (seeds, units), spread)) for _ in range(600)]
    assert 0.92 <= np.mean([each.low <= 0 <= each.high for each in found]) <= 0.985
    assert [each.p <= 0.05 for each in found] == [not each.low <= 0 <= each.high for each in found]


def test_one_seed_has_an_interval_over_units_and_no_p() -> None:
    values = table(np.random.default_rng(3), (1, 25), (1.0, 1.0, 1.0))
    found = estimate_of(values)
    assert found.se**2 == pytest.approx(values.var(ddof=1) / 25)
    assert np.isnan(found.p)


def test_a_value_on_the_other_side_of_0_than_its_centre_has_a_p_of_one() -> None:
    full, left = np.array([0.01, 0.01]), np.full((2, 10), 0.02)
    left += np.random.default_rng(0).normal(0, 1e-4, left.shape)
    found = estimate(full, left)
    assert found.low <= 0 <= found.high
    assert found.p == 1.0


def test_equal_models_have_p_one_and_a_constant_difference_has_p_zero() -> None:
    assert estimate(np.zeros(3), np.zeros((3, 8))).p == 1.0
    assert estimate(np.full(3, 0.2), np.full((3, 8), 0.2)).p == pytest.approx(0.0, abs=1e-12)


# -- borrowing ---------------------------------------------------------------------------------------------------------


def test_the_prior_degrees_of_freedom_are_those_of_smyths_equations() -> None:
    rng = np.random.default_rng(4)
    variances, df = rng.gamma(0.3, size=40), rng.integers(1, 6, 40).astype(float)
    logs = np.log(variances) - scipy_special.digamma(df / 2) + np.log(df / 2)
    beyond = logs.var(ddof=1) - np.mean([scipy_special.polygamma(1, each / 2) for each in df])
    expected = optimize.brentq(lambda prior: scipy_special.polygamma(1, prior / 2) - beyond, 1e-3, 1e3)
    assert 0 < expected < 8
    found = SeedPrior.of(variances.tolist(), df.tolist())
    assert found.df == pytest.approx(expected)
    assert found.variance == pytest.approx((variances * df).sum() / df.sum())
    assert found.total == df.sum()


@pytest.mark.parametrize("true_df", [1.5, 4.0])
def test_the_prior_is_found_again_from_variances_drawn_of_it(true_df: float) -> None:
    rng = np.random.default_rng(5)
    own = true_df / rng.chisquare(true_df, 3000)
    found = SeedPrior.of((own * rng.chisquare(3, 3000) / 3).tolist(), [3.0] * 3000)
    assert found.df == pytest.approx(true_df, rel=0.2)


def test_equal_variances_are_pooled_up_to_a_bound_and_unequal_ones_hardly() -> None:
    rng = np.random.default_rng(6)
    even = rng.chisquare(2, 30) / 2
    assert SeedPrior.of(even.tolist(), [2.0] * 30).df == pytest.approx(8.0, abs=4)
    assert SeedPrior.of([1.0, 1.0, 1.0], [2.0] * 3).df == 8.0
    uneven = even * np.exp(rng.normal(0, 3, 30))
    assert SeedPrior.of(uneven.tolist(), [2.0] * 30).df < 1


def test_a_moderated_variance_is_the_weighted_mean_of_its_own_and_the_prior() -> None:
    prior = SeedPrior(variance=4.0, df=6.0, total=20.0)
    found = prior.moderated(SeedVariance(of_mean=0.5, df=2.0), n_seeds=3)
    assert found.of_mean == pytest.approx((6 * 4 / 3 + 2 * 0.5) / 8)
    assert found.df == 8.0
    assert SeedPrior(4.0, 6.0, 5.0).moderated(SeedVariance(0.5, 2.0), 3).df == 5.0
    assert prior.moderated(SeedVariance(0.0, 2.0), 3) == SeedVariance(0.0, 2.0)


def test_a_row_without_others_keeps_its_own_variance() -> None:
    own = SeedVariance(0.5, 1.0)
    for prior in (SeedPrior.of([1.0], [1.0]), SeedPrior.of([], [])):
        assert prior.moderated(own, 2) == own


def test_a_sum_has_satterthwaites_degrees_of_freedom_up_to_those_of_all_data() -> None:
    parts = [SeedVariance(1.0, 4.0), SeedVariance(2.0, 9.0)]
    found = sum_of(parts, total=100.0)
    assert found.of_mean == 3.0
    assert found.df == pytest.approx(9 / (1 / 4 + 4 / 9))
    assert sum_of(parts, total=5.0).df == 5.0


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("unequal", [0.0, 1.0])
def test_with_few_seeds_twelve_rows_reject_a_true_null_at_the_promised_rate(seeds: int, unequal: float) -> None:
    rng, rejected = np.random.default_rng(7), []
    for _ in range(300):
        spread = 0.4 * np.exp(rng.normal(0, unequal, 12))
        rows = [table(rng, (seeds, 30), (each, 0.0, 1.0)) for each in spread]
        variances = [row.mean(1).var(ddof=1) for row in rows]
        prior = SeedPrior.of(variances, [seeds - 1.0] * 12)
        for a, b in zip(rows[::2], rows[1::2], strict=True):
            own = [prior.moderated(SeedVariance.of(row.mean(1)), seeds) for row in (a, b)]
            rejected.append(estimate_of(a - b, sum_of(own, prior.total)).p <= 0.05)
    assert 0.02 <= np.mean(rejected) <= 0.075
