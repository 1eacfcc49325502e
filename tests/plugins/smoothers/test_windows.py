"""The windowed smoothers against plain loops over frame numbers, and against SciPy where no frame is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import cos, exp, fsum, pi

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.signal import savgol_filter
from scipy.signal.windows import hamming
from toy_clips import Clip, probability_clips

from fusionkit.contracts import Clip as Whole
from fusionkit.contracts import Smoother
from fusionkit.errors import ConfigError
from fusionkit_emotic.window import Window
from fusionkit_smoothers import time_grid
from fusionkit_smoothers.bilateral import Bilateral
from fusionkit_smoothers.gaussian import Gaussian
from fusionkit_smoothers.hamming import Hamming
from fusionkit_smoothers.median import Median
from fusionkit_smoothers.mode import Mode
from fusionkit_smoothers.savitzky_golay import SavitzkyGolay

WIDTHS = st.integers(0, 30).map(lambda half: 2 * half + 1)
FULL = np.random.default_rng(0).dirichlet(np.full(4, 0.5), size=3000)
LOST = np.cumsum(np.random.default_rng(1).choice([1, 1, 1, 1, 2, 7, 300], size=3000))


@pytest.fixture(autouse=True, params=[7, 65536], ids=["small-pieces", "one-piece"])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test on whole clips and in small pieces: the results must be equal."""
    monkeypatch.setattr(time_grid, "_ROWS", request.param)


def near(numbers: np.ndarray, number: int, half: float) -> list[int]:
    return [row for row, other in enumerate(numbers.tolist()) if abs(other - number) <= half]


def weighted(clip: Clip, half: float, weight: Callable[[int], float]) -> np.ndarray:
    """Exactly rounded sums over all frames in reach, by a loop over all pairs."""
    x, numbers = clip
    out = np.empty_like(x)
    for row, number in enumerate(numbers.tolist()):
        rows = near(numbers, number, half)
        weights = [weight(int(numbers[other]) - number) for other in rows]
        for column in range(x.shape[1]):
            values = [weights[index] * x[other, column] for index, other in enumerate(rows)]
            out[row, column] = fsum(values) / fsum(weights)
    return out


# -- means -------------------------------------------------------------------------------------------------------------


@settings(max_examples=examples(30))
@given(probability_clips(), st.floats(0.1, 20), st.floats(0.5, 4))
def test_gaussian_is_the_mean_weighted_by_distance(clip: Clip, sigma: float, truncate: float) -> None:
    expected = weighted(clip, int(sigma * truncate + 0.5), lambda d: exp(-(d**2) / (2 * sigma**2)))
    np.testing.assert_allclose(Gaussian(sigma, truncate).smooth(*clip), expected, rtol=0, atol=1e-12)


@settings(max_examples=examples(30))
@given(probability_clips(), WIDTHS)
def test_hamming_is_the_mean_weighted_by_a_raised_cosine(clip: Clip, width: int) -> None:
    half = width // 2
    expected = weighted(clip, half, lambda d: 0.54 + 0.46 * cos(pi * d / max(half, 1)))
    np.testing.assert_allclose(Hamming(width)(*clip), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.5, 3, 25])
def test_without_gaps_gaussian_is_scipys_away_from_the_ends(sigma: float) -> None:
    half = int(4 * sigma + 0.5)
    expected = gaussian_filter1d(FULL, sigma, axis=0)[half:-half]
    np.testing.assert_allclose(Gaussian(sigma).smooth(FULL, np.arange(3000))[half:-half], expected, rtol=0, atol=1e-12)


def test_without_gaps_hamming_weighs_by_scipys_window() -> None:
    weights = hamming(15)
    expected = np.stack([np.convolve(column, weights / weights.sum(), "valid") for column in FULL.T], axis=1)
    np.testing.assert_allclose(Hamming(15)(FULL, np.arange(3000))[7:-7], expected, rtol=0, atol=1e-12)


def test_two_frames_are_weighted_by_their_distance() -> None:
    x = np.eye(2)
    beside = exp(-9 / 8)
    expected = np.array([[1, beside], [beside, 1]]) / (1 + beside)
    np.testing.assert_allclose(Gaussian(2).smooth(x, np.array([4, 7])), expected, rtol=1e-15)
    np.testing.assert_allclose(Hamming(7)(x, np.array([4, 7])), np.array([[1, 0.08], [0.08, 1]]) / 1.08, rtol=1e-12)


# -- median ------------------------------------------------------------------------------------------------------------


@given(probability_clips(), WIDTHS)
def test_median_is_that_of_the_frames_in_reach(clip: Clip, width: int) -> None:
    x, numbers = clip
    expected = np.stack([np.median(x[near(numbers, number, width // 2)], axis=0) for number in numbers.tolist()])
    empty = expected.sum(1) == 0
    expected[empty] = x[empty]
    np.testing.assert_array_equal(Median(width).smooth(x, numbers), expected)


@pytest.mark.parametrize("width", [3, 51, 201])
def test_without_gaps_median_is_scipys_away_from_the_ends(width: int) -> None:
    half = width // 2
    expected = median_filter(FULL, size=(width, 1))[half:-half]
    np.testing.assert_array_equal(Median(width).smooth(FULL, np.arange(3000))[half:-half], expected)


def test_where_every_median_is_zero_a_frame_keeps_its_own_probabilities() -> None:
    x = np.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    np.testing.assert_array_equal(Median(5)(x, np.arange(7))[2:5], x[2:5])


# -- mode --------------------------------------------------------------------------------------------------------------


@given(probability_clips(), WIDTHS)
def test_mode_is_the_most_frequent_decision_in_reach(clip: Clip, width: int) -> None:
    x, numbers = clip
    decided = x.argmax(1).tolist()
    found = Mode(width).smooth(x, numbers)
    assert found.sum(1).tolist() == [1] * len(x)
    for row, number in enumerate(numbers.tolist()):
        votes = Counter(decided[other] for other in near(numbers, number, width // 2))
        most = max(votes.values())
        winners = sorted(label for label, count in votes.items() if count == most)
        assert found[row].argmax() == (decided[row] if decided[row] in winners else winners[0])


# -- polynomials -------------------------------------------------------------------------------------------------------


def polynomials(clip: Clip, half: int, order: int) -> np.ndarray:
    """Least squares frame by frame."""
    x, numbers = clip
    out = np.empty_like(x)
    for row, number in enumerate(numbers.tolist()):
        rows = near(numbers, number, half)
        distances = (numbers[rows] - number) / half
        powers = distances[:, None] ** np.arange(min(order, len(rows) - 1) + 1)
        out[row] = np.linalg.lstsq(powers, x[rows], rcond=None)[0][0]
    return out.clip(0)


@settings(max_examples=examples(30))
@given(probability_clips(longest=40, widest_gap=12), st.integers(1, 15), st.integers(0, 3))
def test_a_polynomial_of_frame_numbers_is_fitted_to_the_frames_in_reach(clip: Clip, half: int, order: int) -> None:
    found = SavitzkyGolay(2 * half + 1, order).smooth(*clip)
    np.testing.assert_allclose(found, polynomials(clip, half, order), rtol=0, atol=1e-7)


@settings(max_examples=examples(30))
@given(st.lists(st.sampled_from([1, 2, 97, 400]), min_size=8, max_size=30), st.integers(1, 3))
def test_frames_in_a_few_clusters_cost_no_precision(gaps: list[int], order: int) -> None:
    clip = FULL[: len(gaps)], np.cumsum(gaps)
    found = SavitzkyGolay(1001, order).smooth(*clip)
    np.testing.assert_allclose(found, polynomials(clip, 500, order), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("width", "order"), [(5, 2), (51, 2), (201, 3), (101, 0)])
def test_without_gaps_it_is_scipys_filter_away_from_the_ends(width: int, order: int) -> None:
    half = width // 2
    expected = savgol_filter(FULL, width, order, axis=0)[half:-half].clip(0)
    found = SavitzkyGolay(width, order).smooth(FULL, np.arange(3000))[half:-half]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("numbers", [np.arange(3000), LOST], ids=["full", "lost"])
def test_order_0_is_the_sliding_window(numbers: np.ndarray) -> None:
    expected = Window(25).smooth(FULL, numbers)
    np.testing.assert_allclose(SavitzkyGolay(25, 0).smooth(FULL, numbers), expected, rtol=0, atol=1e-11)


def test_a_polynomial_of_the_same_order_is_unchanged_whatever_is_missing() -> None:
    numbers = np.array([0, 1, 2, 5, 6, 9, 10, 14, 15, 16, 20, 21, 22, 23])
    rising = 0.1 + 0.001 * numbers + 0.0005 * numbers**2
    x = np.stack([rising, 1 - rising], axis=1)
    np.testing.assert_allclose(SavitzkyGolay(11, 2).smooth(x, numbers), x, rtol=0, atol=1e-12)


def test_a_short_peak_keeps_more_of_its_height_than_in_a_mean() -> None:
    peak = np.exp(-0.5 * ((np.arange(60) - 30) / 4) ** 2)
    x = np.stack([peak, 1 - peak], axis=1)
    kept, flattened = (smoother.smooth(x, np.arange(60))[30, 0] for smoother in (SavitzkyGolay(11, 2), Window(11)))
    assert kept > 0.95 > 0.85 > flattened


def test_negative_values_become_zero() -> None:
    x = np.stack([np.r_[np.zeros(10), np.ones(10)], np.r_[np.ones(10), np.zeros(10)]], axis=1)
    unclipped = savgol_filter(x, 7, 2, axis=0)
    found = SavitzkyGolay(7, 2).smooth(x, np.arange(20))
    assert unclipped.min() < -0.01
    assert found.min() == 0
    np.testing.assert_allclose(found[3:-3], unclipped[3:-3].clip(0), rtol=0, atol=1e-12)


# -- gaps and length ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (Gaussian(2), Gaussian(6)),
        (Hamming(9), Hamming(25)),
        (Median(9), Median(25)),
        (Mode(9), Mode(25)),
        (SavitzkyGolay(9), SavitzkyGolay(25)),
    ],
)
def test_every_third_frame_is_smoothed_as_a_video_at_a_third_of_the_rate(narrow: Smoother, wide: Smoother) -> None:
    x = FULL[:200]
    expected = narrow(x, np.arange(200))
    np.testing.assert_allclose(wide(x, 3 * np.arange(200)), expected, rtol=0, atol=1e-10)


def test_pieces_cover_a_clip_once_and_far_frames_take_little_memory() -> None:
    numbers = np.cumsum(np.random.default_rng(0).choice([1, 2, 10**6], size=500))
    pieces = list(time_grid.grid_pieces(numbers, 50))
    assert [row for piece in pieces for row in range(piece.rows.start, piece.rows.stop)] == list(range(500))
    for piece in pieces:
        assert piece.length <= 51 * (len(piece.positions) + 2)
        inside = numbers[piece.wide]
        np.testing.assert_array_equal(
            piece.positions[piece.rows.start - piece.wide.start :][: len(piece.centres)], piece.centres
        )
        apart, on_grid = np.abs(inside - inside[:, None]), np.abs(piece.positions - piece.positions[:, None])
        np.testing.assert_array_equal(apart[apart <= 50], on_grid[apart <= 50])
        assert (on_grid[apart > 50] > 50).all()


@pytest.mark.parametrize(("rate", "width"), [(30.0, 15), (29.97, 15), (24.0, 13), (60.0, 31), (1.0, 1)])
def test_a_window_in_seconds_is_the_nearest_odd_number_of_frames(rate: float, width: int) -> None:
    smoother, x, numbers = Hamming(seconds=0.5), FULL[:200], LOST[:200]
    np.testing.assert_array_equal(smoother(x, Whole("a", numbers, rate)), Hamming(width)(x, numbers))
    assert (smoother.needs_rate, smoother.span, Hamming(5).needs_rate) == (True, None, False)


def test_a_width_in_frames_and_in_seconds_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"options width = 5 and seconds = 0\.5 exclude each other"):
        Hamming(5, 0.5)


@pytest.mark.parametrize(("sigma", "contrast"), [(1.0, 0.5), (3.0, 0.2), (100.0, 2.0)])
def test_bilateral_weighs_by_time_and_by_embeddings(sigma: float, contrast: float) -> None:
    x, numbers = FULL[:300], LOST[:300]
    embeddings = np.cumsum(np.random.default_rng(2).normal(size=(300, 5)), axis=0)
    apart = np.array([[sum((one - other) ** 2) for other in embeddings] for one in embeddings])
    expected = np.empty_like(x)
    for row, number in enumerate(numbers.tolist()):
        weights = np.zeros(300)
        for other in near(numbers, number, int(4 * sigma + 0.5)):
            time = exp(-((numbers[other] - number) ** 2) / (2 * sigma**2))
            weights[other] = time * exp(-apart[row, other] / (2 * contrast**2 * apart.mean()))
        expected[row] = weights @ x / weights.sum()
    found = Bilateral(sigma, contrast)(x, Whole("a", numbers, embeddings=embeddings))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_bilateral_is_the_gaussian_where_all_frames_look_alike() -> None:
    x, numbers = FULL[:300], LOST[:300]
    clip = Whole("a", numbers, embeddings=np.ones((300, 4)))
    np.testing.assert_allclose(Bilateral(3)(x, clip), Gaussian(3)(x, numbers), rtol=0, atol=1e-12)
    np.testing.assert_allclose(Bilateral()(x, clip), Gaussian()(x, numbers), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(Bilateral(0)(x, clip), Gaussian(0)(x, numbers))


def test_bilateral_keeps_the_edge_at_a_change_of_the_views() -> None:
    x = np.repeat([[0.9, 0.1], [0.1, 0.9]], 20, axis=0)
    clip = Whole("a", np.arange(40), embeddings=np.repeat([[0.0], [1.0]], 20, axis=0))
    assert Bilateral(6, 0.2)(x, clip)[19, 0] > 0.89
    assert Gaussian(6)(x, clip.number)[19, 0] < 0.6
