"""The sliding window against plain loops over frame numbers."""

from math import fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter1d

from fusionkit.errors import ConfigError, PluginError
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.spec import Spec
from fusionkit_emotic.window import Window

WIDTHS = st.integers(0, 30).map(lambda half: 2 * half + 1)


def naive(x: np.ndarray, numbers: np.ndarray, width: int) -> np.ndarray:
    """Exactly rounded means of the frames at most half a width away, by a loop over all pairs."""
    out = np.empty_like(x)
    for i, number in enumerate(numbers.tolist()):
        near = [row for row, other in zip(x, numbers.tolist(), strict=True) if abs(other - number) <= (width - 1) // 2]
        out[i] = [fsum(column) / len(near) for column in zip(*near, strict=True)]
    return out


@st.composite
def clips(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (T, C), some of them exactly 0, and rising frame numbers with gaps."""
    length, classes = draw(st.integers(1, 60)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.dirichlet(np.full(classes, draw(st.sampled_from([0.05, 1.0]))), size=length)
    x[rng.random(x.shape) < 0.2] = 0.0
    x[x.sum(1) == 0, 0] = 1.0
    gaps = draw(st.lists(st.integers(1, 40), min_size=length, max_size=length))
    return x / x.sum(1, keepdims=True), np.cumsum(gaps)


@settings(deadline=None)  # the loop is slow
@given(clips(), WIDTHS)
def test_each_frame_is_the_mean_of_the_frames_within_half_a_width(clip, width):
    x, numbers = clip
    np.testing.assert_allclose(Window(width).smooth(x, numbers), naive(x, numbers, width), rtol=0, atol=1e-12)


@given(clips(), WIDTHS)
def test_rows_stay_probabilities(clip, width):
    out = Window(width).smooth(*clip)
    assert (out >= 0).all()
    np.testing.assert_allclose(out.sum(1), 1, rtol=0, atol=1e-12)


@given(clips(), WIDTHS)
def test_a_constant_clip_is_unchanged(clip, width):
    x, numbers = clip
    constant = np.repeat(x[:1], len(x), axis=0)
    np.testing.assert_allclose(Window(width).smooth(constant, numbers), constant, rtol=0, atol=1e-12)


@given(clips())
def test_width_1_changes_no_bit(clip):
    np.testing.assert_array_equal(Window(1).smooth(*clip), clip[0])


@given(clips(), WIDTHS, st.integers(-(10**9), 10**9))
def test_only_differences_between_frame_numbers_count(clip, width, shift):
    x, numbers = clip
    np.testing.assert_array_equal(Window(width).smooth(x, numbers + shift), Window(width).smooth(x, numbers))


@given(clips(), WIDTHS)
def test_time_may_run_backwards(clip, width):
    x, numbers = clip
    forwards = Window(width).smooth(x, numbers)
    backwards = Window(width).smooth(x[::-1], -numbers[::-1])
    np.testing.assert_allclose(backwards[::-1], forwards, rtol=0, atol=1e-12)


def test_frames_beyond_a_gap_have_no_weight():
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    out = Window(5).smooth(x, np.array([10, 12, 15, 100]))
    np.testing.assert_array_equal(out, [[0.5, 0.5], [0.5, 0.5], [1.0, 0.0], [0.5, 0.5]])


def test_a_clip_of_one_frame_is_unchanged():
    x = np.array([[0.1, 0.2, 0.7]])
    np.testing.assert_array_equal(Window(101).smooth(x, np.array([7])), x)


@pytest.mark.parametrize(("length", "width"), [(1, 1), (5, 1), (17, 5), (300, 101), (301, 101), (4000, 101)])
def test_the_default_width_is_a_third_of_the_clip_and_at_most_101(length, width):
    x = np.random.default_rng(length).dirichlet(np.ones(3), size=length)
    np.testing.assert_array_equal(Window().smooth(x, np.arange(length)), Window(width).smooth(x, np.arange(length)))


def test_an_empty_clip_gives_an_empty_clip():
    assert Window(5).smooth(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)).shape == (0, 3)


@pytest.mark.parametrize("width", [3, 101, 1023, 5001])
def test_without_gaps_it_is_scipys_uniform_filter_away_from_the_ends(width):
    x = np.random.default_rng(0).dirichlet(np.ones(3), size=8000)
    half = width // 2
    expected = uniform_filter1d(x, width, axis=0)[half:-half]
    np.testing.assert_allclose(Window(width).smooth(x, np.arange(8000))[half:-half], expected, rtol=0, atol=1e-11)


def test_a_long_clip_costs_no_precision_and_gives_no_negatives():
    rng = np.random.default_rng(0)
    x = rng.dirichlet(np.full(8, 0.02), size=100_000)
    numbers = np.cumsum(rng.integers(1, 3, size=len(x)))
    out = Window(201).smooth(x, numbers)
    assert out.min() >= 0
    for i in [0, 1, 1023, 1024, 50_000, 99_998, 99_999]:
        near = x[np.abs(numbers - numbers[i]) <= 100]
        np.testing.assert_allclose(out[i], [fsum(c) / len(near) for c in near.T], rtol=0, atol=1e-12)


def test_the_last_frames_of_a_long_clip_are_as_precise_as_the_first():
    x = np.random.default_rng(0).dirichlet([0.01, 5.0], size=100_000)
    out = Window(3).smooth(x, np.arange(len(x)))
    np.testing.assert_allclose(out[1:-1], (x[:-2] + x[1:-1] + x[2:]) / 3, rtol=0, atol=5e-13)


def test_the_input_is_not_written_to():
    x = np.random.default_rng(0).dirichlet(np.ones(3), size=20)
    before = x.copy()
    Window(5)(x, np.arange(20))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("width", [0, -3, 4, 2.0, 5.5, True, "5", None])
def test_a_width_that_is_not_odd_is_refused_in_one_line(width):
    with pytest.raises(ConfigError, match="width") as caught:
        SMOOTHERS.build(Spec("window", {"width": width}))
    assert repr(width) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_may_be_built_but_not_used_before_a_width_is_chosen():
    with pytest.raises(PluginError, match="auto"):
        Window("auto").smooth(np.full((3, 2), 0.5), np.arange(3))


def test_every_candidate_for_auto_can_be_built_the_mildest_first():
    candidates = Window.auto["width"]
    assert [Window(width).width for width in candidates] == sorted(candidates)
    assert candidates[0] == 1
