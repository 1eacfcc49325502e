"""Intervals, paired tests and calibration, against SciPy, scikit-learn, plain loops and worked examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from naive_stats import (
    PRIOR,
    ROWS,
    Pair,
    make_pair,
    naive_difference,
    naive_estimate,
    naive_macro_f1,
    naive_score,
    simulate,
)
from scipy import stats as scipy_stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from toy_tasks import accuracy, ece, expression, interval, macro_f1, paired_difference, permutation_p, swaps_of, uar

from fusionkit.errors import DataError
from fusionkit.stats.crossed import estimate as crossed_estimate
from fusionkit.stats.intervals import holm
from fusionkit.stats.permutation import drawn_swaps


@st.composite
def pairs(draw: st.DrawFn, least_units: int = 1) -> Pair:
    units, seeds = draw(st.integers(least_units, 6)), draw(st.integers(1, 3))
    return make_pair(draw(st.integers(0, 2**32)), units, seeds, classes=draw(st.integers(2, 4)))


# -- scores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_truth", [[0, 1, 2, 3, 4], [0, 1, 3]])
def test_scores_are_those_of_scikit_learn_over_the_classes_in_the_truth(in_truth: list[int]) -> None:
    rng = np.random.default_rng(1)
    truth = rng.choice(in_truth, 300)
    guess = np.where(rng.random(300) < 0.5, truth, rng.integers(0, 5, 300))
    counts = expression(5).counts(truth, np.eye(5)[guess], np.zeros(300, int), 1)[0]
    assert macro_f1(counts) == pytest.approx(f1_score(truth, guess, average="macro", labels=in_truth))
    assert accuracy(counts) == pytest.approx(accuracy_score(truth, guess))
    assert uar(counts) == pytest.approx(np.mean([np.mean(guess[truth == c] == c) for c in in_truth]))
    if len(in_truth) == 5:
        assert uar(counts) == pytest.approx(balanced_accuracy_score(truth, guess))


@given(hnp.arrays(np.int64, (3, 2, 4, 4), elements=st.integers(0, 3)))
def test_macro_f1_of_many_matrices_is_the_metric_of_the_task_on_each(counts: np.ndarray) -> None:
    expected = [[expression(4).metric(matrix) for matrix in row] for row in counts]
    np.testing.assert_allclose(macro_f1(counts), expected, rtol=1e-14)


def test_scores_without_any_frame_are_undefined_and_not_zero() -> None:
    nothing = np.zeros((3, 3), dtype=np.int64)
    assert all(np.isnan(score(nothing)) for score in (macro_f1, accuracy, uar))


def test_macro_f1_leaves_out_a_class_that_is_present_elsewhere_but_has_no_f1_here() -> None:
    counts = np.diag([4, 2, 0])
    counts[0, 1] = 1
    expected = (8 / 9 + 4 / 5) / 2
    assert macro_f1(counts, np.array([True, True, True])) == pytest.approx(expected)
    counts[0, 2] = 1  # now class 2 is predicted, wrongly: an F1 of 0
    expected = (8 / 10 + 4 / 5 + 0) / 3
    assert macro_f1(counts, np.array([True, True, True])) == pytest.approx(expected)


# -- intervals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("units", "seeds", "level"), [(2, 1, 0.95), (3, 1, 0.5), (4, 1, 0.95), (12, 3, 0.95), (12, 5, 0.8), (40, 1, 0.95)]
)
def test_interval_is_that_of_the_mean_squares_of_units_seeds_and_both(units: int, seeds: int, level: float) -> None:
    counts, _ = make_pair(units, units, seeds)
    counts[:, 0] *= 4  # one unit weighs more than others, as in life
    estimate = interval(counts, level)
    low, high, se, p = naive_estimate(lambda seed, kept: naive_score(counts[seed, None], kept), seeds, units, level)
    assert estimate.value == pytest.approx(naive_score(counts, range(units)))
    assert estimate.se == pytest.approx(se)
    assert (estimate.low, estimate.high) == pytest.approx((max(low, 0), min(high, 1)))
    assert estimate.p == pytest.approx(p) if seeds > 1 else math.isnan(estimate.p)
    assert (estimate.n_units, estimate.n_seeds) == (units, seeds)


def test_interval_keeps_the_class_set_when_the_only_unit_of_a_class_is_left_out() -> None:
    counts, _ = make_pair(3, 6, classes=4)
    counts[:, 1:, 3] = 0  # class 3 is in the truth of unit 0 alone
    assert counts[:, 0, 3].sum() > 0
    for predicted_elsewhere in (True, False):
        if not predicted_elsewhere:
            counts[:, 1:, :, 3] = 0
        expected = naive_estimate(lambda _, kept: naive_score(counts, kept), 1, 6)
        assert interval(counts).se == pytest.approx(expected[2])


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_paired_difference_is_the_estimate_of_the_difference_of_each_seed(gain: float) -> None:
    units, seeds = 9, 3
    a, b = make_pair(5, units, seeds, gain=gain)

    def difference(seed: int, kept: Iterable[int]) -> float:
        return naive_score(a[seed, None], kept) - naive_score(b[seed, None], kept)

    low, high, se, p = naive_estimate(difference, seeds, units)
    estimate = paired_difference(a, b)
    assert estimate.value == pytest.approx(np.mean([difference(seed, range(units)) for seed in range(seeds)]))
    assert (estimate.low, estimate.high, estimate.se, estimate.p) == pytest.approx((low, high, se, p))


@given(pairs(least_units=2), st.sampled_from([0.5, 0.9, 0.95]))
def test_p_and_interval_never_disagree(pair: Pair, level: float) -> None:
    estimate = paired_difference(*pair, level)
    if estimate.n_seeds == 1:
        assert math.isnan(estimate.p)
    elif abs(estimate.p - (1 - level)) > 1e-9:
        assert (estimate.low > 0 or estimate.high < 0) == (estimate.p < 1 - level)


def test_interval_always_holds_the_value_itself() -> None:
    # Class 1 is right in one unit alone, which the bias correction makes much of.
    counts = np.zeros((1, 12, 2, 2), dtype=np.int64)
    counts[0, :, 0, 0], counts[0, 0, 1, 1], counts[0, 1:, 1, 0] = 5, 50, 1
    for level in (0.01, 0.95):
        estimate = interval(counts, level)
        assert estimate.low <= estimate.value <= estimate.high


def test_a_dominant_unit_widens_the_interval_beyond_its_error() -> None:
    even, _ = make_pair(0, 20)
    uneven = even.copy()
    uneven[:, 0] *= 50
    factors = [(x.high - x.low) / x.se for x in (interval(even, 0.5), interval(uneven, 0.5))]
    assert factors[1] > factors[0] * 1.05


def test_bounds_stay_within_what_a_score_and_a_difference_can_be() -> None:
    good, bad = np.zeros((1, 2, 2, 2), dtype=np.int64), np.zeros((1, 2, 2, 2), dtype=np.int64)
    good[0, :] = [[5, 0], [0, 5]]
    good[0, 0] = [[5, 0], [2, 3]]
    bad[0, :] = [[0, 5], [5, 0]]
    assert interval(good).high == 1.0
    assert interval(bad).low == 0.0
    assert paired_difference(good, bad).high == 1.0
    assert paired_difference(bad, good).low == -1.0


def test_value_and_bias_are_those_published_for_the_law_school_data() -> None:
    # Correlation of test score and grades at 15 schools (Efron & Tibshirani 1993, chapter 3): .7764 with a jackknife
    # bias of -.0065 in MATLAB's guide to resampling statistics.
    lsat = np.array([576, 635, 558, 578, 666, 580, 555, 661, 651, 605, 653, 575, 545, 572, 594])
    gpa = np.array([3.39, 3.30, 2.81, 3.03, 3.44, 3.07, 3.00, 3.43, 3.36, 3.13, 3.12, 2.74, 2.76, 2.88, 2.96])
    left_out = [np.corrcoef(np.delete(lsat, i), np.delete(gpa, i))[0, 1] for i in range(15)]
    estimate = crossed_estimate(np.corrcoef(lsat, gpa)[:1, 1], np.array([left_out]), level=0.5)
    assert estimate.value == pytest.approx(0.7764, abs=5e-5)
    assert estimate.value - (estimate.low + estimate.high) / 2 == pytest.approx(-0.0065, abs=5e-5)


def test_one_unit_has_a_value_and_no_interval() -> None:
    counts, _ = make_pair(0, 1, seeds=2)
    estimate = interval(counts)
    assert estimate.value == pytest.approx(naive_score(counts, [0]))
    assert np.isnan([estimate.low, estimate.high, estimate.se]).all()


@given(pairs(least_units=2))
def test_swapping_the_models_changes_the_sign_of_the_difference(pair: Pair) -> None:
    forth, back = paired_difference(*pair), paired_difference(*pair[::-1])
    assert forth.value == pytest.approx(-back.value, abs=1e-12)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert forth.low <= forth.value <= forth.high


@pytest.mark.parametrize("seed", range(5))
def test_doubling_every_unit_keeps_the_value_and_divides_the_error_by_the_root_of_two(seed: int) -> None:
    counts, _ = make_pair(seed, 40)
    once, twice = interval(counts), interval(np.concatenate([counts, counts], axis=1))
    assert twice.value == once.value
    assert twice.se * math.sqrt(2) == pytest.approx(once.se, rel=0.05)


@given(pairs(least_units=2), st.randoms(use_true_random=False))
def test_the_order_of_units_seeds_and_classes_does_not_matter(pair: Pair, random) -> None:
    orders = [random.sample(range(n), n) for n in pair[0].shape[:3]]
    a, b = (side[orders[0]][:, orders[1]][:, :, orders[2]][:, :, :, orders[2]] for side in pair)
    assert interval(a).high == pytest.approx(interval(pair[0]).high)
    assert paired_difference(a, b).low == pytest.approx(paired_difference(*pair).low, abs=1e-12)
    assert permutation_p(a, b) == permutation_p(*pair)


# -- permutation test --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "seeds", "gain"), [(0, 1, 0.0), (1, 1, 1.5), (2, 3, 0.5), (3, 2, 3.0)])
def test_exact_p_is_that_of_scipy(seed: int, seeds: int, gain: float) -> None:
    units = 8
    a, b = make_pair(seed, units, seeds, gain=gain)
    both = np.concatenate([a, b], axis=1)

    def statistic(first: np.ndarray, second: np.ndarray) -> float:
        everyone = range(units)
        return naive_score(both[:, first], everyone) - naive_score(both[:, second], everyone)

    expected = scipy_stats.permutation_test(
        (np.arange(units), np.arange(units) + units),
        statistic,
        permutation_type="samples",
        vectorized=False,
        n_resamples=np.inf,
    )
    assert permutation_p(a, b, permutations=2**units) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("permutations", [7, 100, 2500])
def test_drawn_p_counts_the_drawn_swaps_and_the_identity(permutations: int) -> None:
    a, b = make_pair(11, 14, seeds=2, classes=3, gain=0.5)
    b[:, 3] = a[:, 3]
    moved = np.arange(14) != 3
    drawn = np.concatenate(list(drawn_swaps(np.ones(14, dtype=bool), permutations, seed=4)), axis=1)
    assert drawn.shape == (14, permutations)
    chosen = drawn[:, :60] if permutations > 100 else drawn
    for swap in chosen.T[:5]:  # what is summed in bulk is what swapping by hand gives
        bulk = swaps_of(a, b).difference(swap[moved][:, None])[0]
        assert bulk == pytest.approx(naive_difference(a, b, np.flatnonzero(swap)), abs=1e-12)
    observed = abs(naive_difference(a, b, []))
    values = swaps_of(a, b).difference(drawn[moved])
    expected = (1 + np.sum(np.abs(values) >= observed - 1e-12)) / (permutations + 1)
    assert permutation_p(a, b, permutations, seed=4) == expected


def test_drawn_p_approaches_the_exact_p() -> None:
    a, b = make_pair(7, 12, gain=0.8)
    exact = permutation_p(a, b, permutations=2**12)
    assert 0.02 < exact < 0.9
    drawn = np.array([permutation_p(a, b, permutations=2000, seed=seed) for seed in range(20)])
    assert len(set(drawn)) > 1
    assert drawn.mean() == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 40_000) + 1 / 2001)


def test_p_is_the_same_for_counts_too_large_for_single_precision() -> None:
    a, b = make_pair(9, 30, seeds=2, gain=0.5)
    scale = 2**24 + 1
    assert swaps_of(a, b).change.dtype == np.float32
    assert swaps_of(a * scale, b * scale).change.dtype == np.float64
    assert permutation_p(a * scale, b * scale) == permutation_p(a, b)


@given(pairs())
def test_p_is_a_probability_and_does_not_depend_on_the_order_of_models(pair: Pair) -> None:
    p = permutation_p(*pair)
    assert 2.0 ** -pair[0].shape[1] <= p <= 1.0
    assert permutation_p(*pair[::-1]) == p


@settings(max_examples=examples(20))
@given(st.integers(0, 2**32))
def test_drawn_p_repeats_and_does_not_depend_on_the_order_of_models(seed: int) -> None:
    a, b = make_pair(seed, 16)
    p = permutation_p(a, b, permutations=500)
    assert 1 / 501 <= p <= 1.0
    assert permutation_p(a, b, permutations=500) == permutation_p(b, a, permutations=500) == p


def test_equal_models_have_p_one_and_a_difference_of_zero() -> None:
    a, _ = make_pair(0, 30, seeds=2)
    assert permutation_p(a, a.copy()) == 1.0
    estimate = paired_difference(a, a.copy())
    assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)


def test_units_that_do_not_differ_leave_the_test_exact() -> None:
    a, b = make_pair(2, 40, gain=1.0)
    b[:, 8:] = a[:, 8:]
    differences = [
        abs(naive_difference(a, b, [u for u in range(8) if swap >> u & 1])) for swap in range(2**8)
    ]  # fmt: skip
    expected = np.mean(np.array(differences) >= differences[0] - 1e-12)
    assert permutation_p(a, b, permutations=300) == expected


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "counts",
    [
        np.ones((3, 4, 4), dtype=int),
        np.ones((1, 3, 4, 5), dtype=int),
        np.ones((0, 3, 4, 4), dtype=int),
        np.ones((1, 0, 4, 4), dtype=int),
    ],
)
def test_counts_of_another_shape_or_type_are_refused(counts: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"counts are int64 \("):
        interval(counts)


def test_a_unit_without_frames_is_refused_by_number() -> None:
    counts, _ = make_pair(0, 5)
    counts[:, 3] = 0
    with pytest.raises(DataError, match=r"unit 3 .* no annotated frame"):
        interval(counts)


@pytest.mark.parametrize("compare", [paired_difference, permutation_p])
def test_pairs_that_do_not_count_the_same_frames_are_refused(compare: Callable[..., object]) -> None:
    a, b = make_pair(0, 5, seeds=2)
    with pytest.raises(DataError, match="differ in shape"):
        compare(a, b[:1])
    with pytest.raises(DataError, match="differ in shape"):
        compare(a, b[:, :4])
    b[1, 2, 0, 0] += 1
    with pytest.raises(DataError, match="truth of unit 2"):
        compare(a, b)


# -- many tests, calibration -------------------------------------------------------------------------------------------


def test_holm_on_a_worked_example() -> None:
    # Four tests at .01, .04, .03, .005: at 5 % the fourth and the first are rejected, the third no more.
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_holm_is_that_of_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    rng = np.random.default_rng(0)
    for tests in (1, 2, 7, 30):
        p = np.round(rng.random(tests) ** 3, 2)  # rounded, so that there are ties
        np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1])


@pytest.mark.slow
def test_holm_keeps_the_rate_of_any_false_rejection_where_single_tests_do_not() -> None:
    # Six models against one reference on 10 units: four are no better, two are, in each of 400 data sets.
    level, data_sets, rng = 0.05, 400, np.random.default_rng(0)
    gains = np.array([0, 0, 0, 0, 4, 4])
    any_single, any_corrected, found = 0, 0, 0
    for _ in range(data_sets):
        truth = rng.integers(1, 8, (10, 3))
        reference, *others = (
            rng.multinomial(truth, (rows := np.ones((3, 3)) + (1 + gain) * np.eye(3)) / rows.sum(1)[:, None])[None]
            for gain in (0, *gains)
        )
        p = np.array([permutation_p(other, reference, permutations=2**10) for other in others])
        any_single += bool((p[gains == 0] <= level).any())
        any_corrected += bool((holm(p)[gains == 0] <= level).any())
        found += int((holm(p)[gains > 0] <= level).sum())
    error = math.sqrt(level * (1 - level) / data_sets)
    assert any_corrected / data_sets <= level + 3 * error
    assert any_single / data_sets > level + 3 * error
    assert found > data_sets  # it is not for want of power: more than half of the true differences are found


def test_holm_leaves_out_missing_tests() -> None:
    p = np.array([np.nan, 0.01, np.nan, 0.04])
    np.testing.assert_allclose(holm(p), [np.nan, 0.02, np.nan, 0.04])
    assert holm(np.array([])).shape == (0,)
    assert np.isnan(holm(np.array([np.nan]))).all()


@given(hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1)), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_exactly_what_stepping_down_rejects(p: np.ndarray, alpha: float) -> None:
    rejected, adjusted = set(), holm(p)
    for step, index in enumerate(np.argsort(p, kind="stable")):
        if p[index] * (len(p) - step) > alpha:
            break
        rejected.add(int(index))
    assert set(np.flatnonzero(adjusted <= alpha).tolist()) == rejected
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()


def naive_ece(probs: np.ndarray, truth: np.ndarray, bins: int) -> float:
    edges, error = np.linspace(0, 1, bins + 1), 0.0
    for low, high in pairwise(edges):
        inside = [i for i, row in enumerate(probs) if low < row.max() <= high]
        if inside:
            right = np.mean([probs[i].argmax() == truth[i] for i in inside])
            error += len(inside) / len(probs) * abs(right - np.mean([probs[i].max() for i in inside]))
    return float(error)


@pytest.mark.parametrize(("bins", "sharpness"), [(15, 1.0), (10, 0.2), (1, 0.5)])
def test_ece_is_that_of_a_loop_over_bins(bins: int, sharpness: float) -> None:
    rng = np.random.default_rng(bins)
    probs = rng.dirichlet(np.full(5, sharpness), 400)
    truth = rng.integers(0, 5, 400)
    assert ece(probs, truth, bins) == pytest.approx(naive_ece(probs, truth, bins))


def test_ece_on_worked_examples() -> None:
    sure = np.eye(2)[[0, 0, 0, 1]]
    assert ece(sure, np.array([0, 0, 0, 1])) == 0.0
    assert ece(sure, np.array([1, 0, 0, 1])) == 0.25
    even = np.full((4, 2), 0.5)  # at an edge of ten bins, which belongs to the bin below
    assert ece(even, np.array([0, 1, 0, 1]), bins=10) == 0.0
    mixed = np.array([[0.5, 0.5], [0.55, 0.45]])
    assert ece(mixed, np.array([0, 1]), bins=10) == pytest.approx((0.5 + 0.55) / 2)


def test_ece_without_frames_is_undefined() -> None:
    assert math.isnan(ece(np.empty((0, 3)), np.empty(0, dtype=int)))


# -- do they do what they promise --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_intervals_cover_the_score_of_the_population() -> None:
    rng = np.random.default_rng(0)
    population = naive_macro_f1(PRIOR[:, None] * ROWS, range(5))
    estimates = [interval(simulate(rng, 70, 1)[0]) for _ in range(500)]
    coverage = np.mean([x.low <= population <= x.high for x in estimates])
    assert 0.90 <= coverage <= 0.98
    # No wider than it takes: the promised error is the one that is made.
    assert np.mean([x.se for x in estimates]) == pytest.approx(np.std([x.value for x in estimates]), rel=0.15)


@pytest.mark.slow
def test_a_true_null_is_seldom_rejected_and_a_real_difference_mostly() -> None:
    rng = np.random.default_rng(1)
    null = np.array([permutation_p(*simulate(rng, 40, 2), permutations=400) for _ in range(300)])
    assert 0.01 <= np.mean(null <= 0.05) <= 0.10
    assert 0.4 <= np.mean(null <= 0.5) <= 0.6
    real = [permutation_p(*simulate(rng, 40, 2, gain=0.3), permutations=400) for _ in range(50)]
    assert np.mean(np.array(real) <= 0.05) > 0.8
