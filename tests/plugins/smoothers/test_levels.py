"""The exponential mean, and the Kalman filter and smoother, against sums over all pairs and dense Gaussians."""

from __future__ import annotations

from math import fsum

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.special import softmax
from toy_clips import Clip, logit_clips, probability_clips

from fusionkit_smoothers.exponential import Exponential
from fusionkit_smoothers.kalman import Kalman, KalmanFilter

NOISE = st.floats(0.01, 2000)


@given(probability_clips(), st.floats(0.05, 100))
def test_the_exponential_mean_weighs_all_before_by_their_age(clip: Clip, half_life: float) -> None:
    x, numbers = clip
    expected = np.empty_like(x)
    for row, number in enumerate(numbers.tolist()):
        weights = [2.0 ** ((other - number) / half_life) for other in numbers[: row + 1].tolist()]
        for column in range(x.shape[1]):
            values = [weight * value for weight, value in zip(weights, x[: row + 1, column], strict=True)]
            expected[row, column] = fsum(values) / fsum(weights)
    np.testing.assert_allclose(Exponential(half_life).smooth(x, numbers), expected, rtol=0, atol=1e-12)


def test_without_gaps_the_exponential_mean_ends_as_scipys_recursive_filter() -> None:
    x = np.random.default_rng(0).dirichlet(np.ones(3), size=500)
    kept = 2 ** (-1 / 10)
    expected = lfilter([1 - kept], [1, -kept], x, axis=0)
    np.testing.assert_allclose(Exponential(10).smooth(x, np.arange(500))[-100:], expected[-100:], rtol=0, atol=1e-11)


def test_a_frame_counts_half_after_the_half_life_however_many_frames_lie_between() -> None:
    x = np.eye(2)
    np.testing.assert_allclose(Exponential(5).smooth(x, np.array([3, 8])), [[1, 0], [1 / 3, 2 / 3]], rtol=1e-15)
    np.testing.assert_allclose(Exponential(5).smooth(x, np.array([3, 13])), [[1, 0], [1 / 5, 4 / 5]], rtol=1e-15)


# -- Kalman ------------------------------------------------------------------------------------------------------------


def conditioned(x: np.ndarray, numbers: np.ndarray, noise: float) -> np.ndarray:
    """The mean of a random walk of which ``x`` was seen, from the joint Gaussian of walk and frames, in full.

    Nothing known before the first frame is a start of huge variance, in the limit: a level common to all frames, fitted
    by generalised least squares.
    """
    walk = np.minimum.outer(numbers - numbers[0], numbers - numbers[0]).astype(float)
    seen = np.linalg.inv(walk + noise * np.eye(len(x)))
    ones = np.ones(len(x))
    level = (ones @ seen @ x) / (ones @ seen @ ones)
    expected: np.ndarray = level + walk @ seen @ (x - level)
    return expected


def filtered_and_smoothed(x: np.ndarray, numbers: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Kalman's recursion forwards and Rauch's backwards, written out."""
    means, variances = [x[0]], [noise]
    for row in range(1, len(x)):
        before = variances[-1] + numbers[row] - numbers[row - 1]
        gain = before / (before + noise)
        means.append(means[-1] + gain * (x[row] - means[-1]))
        variances.append((1 - gain) * before)
    smoothed = list(means)
    for row in range(len(x) - 2, -1, -1):
        before = variances[row] + numbers[row + 1] - numbers[row]
        smoothed[row] = means[row] + variances[row] / before * (smoothed[row + 1] - means[row])
    return np.array(means), np.array(smoothed)


@settings(max_examples=examples(50))
@given(logit_clips(longest=25), NOISE)
def test_the_kalman_smoother_is_the_gaussian_given_all_frames(clip: Clip, noise: float) -> None:
    x, numbers = clip
    expected = softmax(conditioned(x, numbers, noise), axis=1)
    np.testing.assert_allclose(Kalman(noise).smooth(x, numbers), expected, rtol=0, atol=1e-7)


@settings(max_examples=examples(30))
@given(logit_clips(longest=15), NOISE)
def test_the_kalman_filter_is_the_gaussian_given_the_frames_so_far(clip: Clip, noise: float) -> None:
    x, numbers = clip
    found = KalmanFilter(noise).smooth(x, numbers)
    for stop in range(1, len(x) + 1):
        expected = softmax(conditioned(x[:stop], numbers[:stop], noise)[-1])
        np.testing.assert_allclose(found[stop - 1], expected, rtol=0, atol=1e-7)


@settings(max_examples=examples(50))
@given(logit_clips(longest=200), NOISE)
def test_filter_and_smoother_are_the_textbooks_recursions(clip: Clip, noise: float) -> None:
    x, numbers = clip
    forwards, backwards = filtered_and_smoothed(x, numbers, noise)
    np.testing.assert_allclose(KalmanFilter(noise).smooth(x, numbers), softmax(forwards, axis=1), rtol=0, atol=1e-9)
    np.testing.assert_allclose(Kalman(noise).smooth(x, numbers), softmax(backwards, axis=1), rtol=0, atol=1e-9)


def test_smoother_and_filter_agree_on_the_last_frame() -> None:
    x, numbers = np.random.default_rng(0).normal(size=(50, 4)), np.cumsum(np.random.default_rng(1).integers(1, 9, 50))
    np.testing.assert_allclose(Kalman(30).smooth(x, numbers)[-1], KalmanFilter(30).smooth(x, numbers)[-1], atol=1e-12)


@pytest.mark.parametrize("noise", [1e6, 1e9])
def test_with_much_noise_only_the_mean_remains(noise: float) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    expected = np.tile(softmax(x.mean(0)), (20, 1))
    np.testing.assert_allclose(
        Kalman(noise).smooth(x, np.arange(20)), expected, rtol=0, atol=1e-3 if noise < 1e7 else 1e-5
    )
    np.testing.assert_allclose(KalmanFilter(noise).smooth(x, np.arange(20))[-1], expected[0], rtol=0, atol=1e-4)
