"""The percentile bootstrap, against SciPy's and against resampling by hand."""

from __future__ import annotations

import numpy as np
import pytest
from naive_stats import make_pair, naive_macro_f1, naive_score, simulate
from scipy import stats as scipy_stats
from toy_tasks import bootstrap_estimate, interval

from fusionkit.errors import DataError
from fusionkit.stats.bootstrap import _draws
from fusionkit.stats.crossed import Estimate


def of_one(counts: np.ndarray, **options: float) -> Estimate:
    return bootstrap_estimate([(1.0, counts)], **options)


def of_difference(a: np.ndarray, b: np.ndarray, **options: float) -> Estimate:
    return bootstrap_estimate([(1.0, a), (-1.0, b)], **options)


def by_hand(counts: np.ndarray, units: np.ndarray, seeds: np.ndarray) -> float:
    """Macro-F1 where each unit and each seed counts so many times."""
    present = [c for c in range(counts.shape[-1]) if counts[:, :, c].sum()]
    scores = [naive_macro_f1(sum(n * unit for n, unit in zip(units, seed, strict=True)), present) for seed in counts]
    return float(np.average(scores, weights=seeds))


@pytest.mark.parametrize(("seeds", "level"), [(1, 0.95), (3, 0.8)])
def test_bounds_are_quantiles_of_resampled_units_and_seeds(seeds: int, level: float) -> None:
    a, b = make_pair(seeds, 9, seeds, gain=0.5)
    units, chosen = _draws(a.shape, 200, seed=5)
    of_a, of_b = ([by_hand(side, u, s) for u, s in zip(units, chosen, strict=True)] for side in (a, b))
    quantiles = [(1 - level) / 2, (1 + level) / 2]
    estimate = of_one(a, level=level, resamples=200, seed=5)
    assert estimate.value == pytest.approx(naive_score(a, range(9)))
    assert (estimate.low, estimate.high) == pytest.approx(np.quantile(of_a, quantiles))
    assert estimate.se == pytest.approx(np.std(of_a, ddof=1))
    assert (estimate.n_units, estimate.n_seeds) == (9, seeds)
    differences = np.subtract(of_a, of_b)
    estimate = of_difference(a, b, level=level, resamples=200, seed=5)
    assert estimate.value == pytest.approx(naive_score(a, range(9)) - naive_score(b, range(9)))
    assert (estimate.low, estimate.high) == pytest.approx(np.quantile(differences, quantiles))
    if seeds == 1:
        assert np.isnan(estimate.p)
    else:
        assert estimate.p == pytest.approx(2 * (1 + min((differences <= 0).sum(), (differences >= 0).sum())) / 201)


def test_a_class_is_resampled_alone() -> None:
    counts, _ = make_pair(3, 9, 2)
    units, chosen = _draws(counts.shape, 100, seed=0)
    resampled = []
    for u, s in zip(units, chosen, strict=True):
        totals = [sum(n * unit for n, unit in zip(u, seed, strict=True)) for seed in counts]
        resampled.append(np.average([naive_macro_f1(total, [2]) for total in totals], weights=s))
    found = of_one(counts, statistic=3, resamples=100)
    assert (found.low, found.high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]))


def test_units_and_seeds_are_drawn_with_replacement_and_fairly() -> None:
    units, seeds = _draws((3, 8, 4, 4), 4000, seed=0)
    assert (units.sum(1) == 8).all()
    assert (seeds.sum(1) == 3).all()
    for drawn, size in ((units, 8), (seeds, 3)):
        assert drawn.mean(0) == pytest.approx(np.ones(size), abs=5 / np.sqrt(4000))
        assert drawn.var(0) == pytest.approx(np.full(size, 1 - 1 / size), rel=0.15)


def test_bounds_approach_those_of_scipy() -> None:
    counts, _ = make_pair(2, 25)

    def statistic(units: np.ndarray) -> float:
        return naive_score(counts, units.tolist())

    expected = scipy_stats.bootstrap(
        (np.arange(25),), statistic, vectorized=False, method="percentile", n_resamples=1500, rng=1
    )
    found = of_one(counts, resamples=20_000)
    width = found.high - found.low
    assert found.se == pytest.approx(expected.standard_error, rel=0.08)
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.08 * width)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.08 * width)


def test_with_many_units_it_agrees_with_the_jackknife() -> None:
    counts = simulate(np.random.default_rng(0), 300, 1)[0]
    one, other = of_one(counts), interval(counts)
    assert one.value == other.value
    assert one.se == pytest.approx(other.se, rel=0.1)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.3 * other.se)


def test_it_repeats_and_changes_with_its_seed() -> None:
    counts, _ = make_pair(0, 12, seeds=2)
    assert of_one(counts) == of_one(counts)
    assert of_one(counts, seed=1) != of_one(counts)


def test_equal_models_have_a_difference_of_zero() -> None:
    a, _ = make_pair(1, 12, seeds=2)
    estimate = of_difference(a, a.copy())
    assert (estimate.value, estimate.low, estimate.high, estimate.se) == (0, 0, 0, 0)


def test_one_unit_has_a_value_and_no_interval_and_wrong_counts_are_refused() -> None:
    counts, _ = make_pair(0, 1)
    estimate = of_one(counts)
    assert estimate.value == pytest.approx(naive_score(counts, [0]))
    assert np.isnan([estimate.low, estimate.high, estimate.se]).all()
    with pytest.raises(DataError, match="counts are"):
        of_one(counts.astype(str))
