"""Intervals, differences and tests of the F1 of each class, against plain loops and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from naive_stats import make_pair, naive_estimate
from scipy import stats as scipy_stats
from toy_tasks import class_permutation_p, leave_one_out, leave_one_out_scores

from fusionkit.errors import DataError
from fusionkit.stats.crossed import Estimate, estimate
from fusionkit.stats.permutation import drawn_swaps


def naive_f1(counts: np.ndarray, kept: list[int] | range, name: int) -> float:
    """Mean over seeds of the F1 of one class on some units."""
    scores = []
    for seed in counts:
        total = sum(seed[unit] for unit in kept)
        scores.append(2 * total[name, name] / (total[name].sum() + total[:, name].sum()))
    return float(np.mean(scores))


def class_estimates(counts: np.ndarray) -> list[Estimate]:
    full, left = leave_one_out_scores(counts)
    return [estimate(full[:, index], left[..., index], within=(0.0, 1.0)) for index in range(1, full.shape[1])]


@pytest.mark.parametrize(("units", "seeds"), [(9, 1), (12, 3)])
def test_class_estimates_are_naive_ones_of_each_f1(units: int, seeds: int) -> None:
    counts, _ = make_pair(units, units, seeds)
    for name, found in enumerate(class_estimates(counts)):
        low, high, se, _ = naive_estimate(
            lambda seed, kept, c=name: naive_f1(counts[seed, None], list(kept), c), seeds, units
        )
        assert found.value == pytest.approx(naive_f1(counts, range(units), name))
        assert found.se == pytest.approx(se)
        assert found.low == pytest.approx(min(max(low, 0), found.value))
        assert found.high == pytest.approx(max(min(high, 1), found.value))


def test_the_first_statistic_is_macro_f1_and_the_mean_of_the_others() -> None:
    counts, _ = make_pair(4, 12, seeds=2)
    full, left = leave_one_out_scores(counts)
    np.testing.assert_array_equal(full[:, 0], leave_one_out(counts)[0])
    np.testing.assert_array_equal(left[..., 0], leave_one_out(counts)[1])
    np.testing.assert_allclose(full[:, 1:].mean(1), full[:, 0])


def test_a_class_of_one_unit_has_a_value_and_no_interval_and_an_absent_one_has_neither() -> None:
    a, b = make_pair(5, 8)
    for side in (a, b):
        side[:, 1:, 3] = 0  # class 3 is in the truth of unit 0 alone
        side[:, :, 2] = 0  # class 2 in the truth of none, though it may be predicted
    assert a[:, 0, 3].sum() > 0
    estimates = class_estimates(a)
    assert not np.isnan([estimates[0].low, estimates[1].high]).any()
    assert np.isfinite(estimates[3].value)
    assert np.isnan([estimates[3].low, estimates[3].high, estimates[3].se]).all()
    assert np.isnan([estimates[2].value, estimates[2].low]).all()
    p = class_permutation_p(a, b)
    assert np.isnan(p).tolist() == [False, False, True, False]


@pytest.mark.parametrize(("seed", "gain"), [(0, 0.0), (1, 1.5)])
def test_exact_class_p_are_those_of_scipy(seed: int, gain: float) -> None:
    units = 7
    a, b = make_pair(seed, units, seeds=2, gain=gain)
    both = np.concatenate([a, b], axis=1)
    found = class_permutation_p(a, b, permutations=2**units)
    for name in range(a.shape[-1]):
        expected = scipy_stats.permutation_test(
            (np.arange(units), np.arange(units) + units),
            lambda x, y, c=name: naive_f1(both, x.tolist(), c) - naive_f1(both, y.tolist(), c),
            permutation_type="samples",
            vectorized=False,
            n_resamples=np.inf,
        )
        assert found[name] == pytest.approx(expected.pvalue)


def test_drawn_class_p_count_the_swaps_that_the_test_of_macro_f1_draws() -> None:
    units, permutations = 14, 400
    a, b = make_pair(11, units, seeds=2, classes=3, gain=0.5)
    swaps = np.concatenate(list(drawn_swaps(np.ones(units, dtype=bool), permutations, seed=4)), axis=1)

    def differences(swap: np.ndarray) -> list[float]:
        x, y = (np.where(swap[None, :, None, None], *sides) for sides in ((b, a), (a, b)))
        return [naive_f1(x, range(units), c) - naive_f1(y, range(units), c) for c in range(3)]

    observed = np.abs(differences(np.zeros(units, dtype=bool)))
    extreme = np.abs([differences(swap.astype(bool)) for swap in swaps.T]) >= observed - 1e-12
    np.testing.assert_allclose(class_permutation_p(a, b, permutations, seed=4), (1 + extreme.sum(0)) / 401)


def test_counts_of_different_frames_are_refused() -> None:
    a, b = make_pair(7, 5)
    b[0, 2, 0, 0] += 1
    with pytest.raises(DataError, match="truth of unit 2"):
        class_permutation_p(a, b)
    with pytest.raises(DataError, match="counts are"):
        leave_one_out_scores(a.astype(str))
