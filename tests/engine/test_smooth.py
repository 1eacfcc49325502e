"""Smoothing goes clip by clip, respects gaps, and gives every frame a prediction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax as scipy_softmax
from toy_components import Box, Learned, Plain
from toy_tasks import smoother_of

from fusionkit.config.grid_config import IMPUTE
from fusionkit.contracts import Clip, FrameTable, Smoother
from fusionkit.engine.features import FeaturesInMemory
from fusionkit.engine.smooth import _BETWEEN, clips, fit_smoother, impute, smooth, smoother_input, softmax
from fusionkit.errors import PluginError

PRIOR = np.array([0.5, 0.3, 0.2])


def table(*lengths: int, numbers: list[int] | None = None) -> FrameTable:
    clip = np.repeat([f"c{n}" for n in range(len(lengths))], lengths)
    found = numbers or [number for length in lengths for number in range(length)]
    return FrameTable.of(clip, found, [-1] * len(clip))


def probs(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([1, 1, 1], n)


def imputed_by_hand(made: np.ndarray, frames: FrameTable, seen: np.ndarray) -> np.ndarray:
    out = made.copy()
    for row in np.flatnonzero(~seen):
        near = [
            (abs(int(frames.number[other]) - int(frames.number[row])), int(frames.number[other]), other)
            for other in range(len(frames))
            if seen[other] and frames.clip[other] == frames.clip[row]
        ]
        out[row] = made[min(near)[2]] if near else PRIOR
    return out


def test_softmax_equals_scipys_for_large_logits_too() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32) * 200
    np.testing.assert_allclose(softmax(logits), scipy_softmax(logits.astype(np.float64), axis=1), rtol=1e-12)
    assert np.isnan(softmax(np.array([[np.nan] * 3]))).all()


def test_clips_are_the_runs_of_one_name() -> None:
    assert [(part.start, part.stop) for part in clips(table(3, 1, 4))] == [(0, 3), (3, 4), (4, 8)]


@settings(max_examples=examples(60))
@given(data=st.data())
def test_unseen_frames_take_the_nearest_frame_of_their_clip_or_the_prior(data: Any) -> None:
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    numbers: list[int] = []
    for length in lengths:
        numbers += sorted(data.draw(st.sets(st.integers(0, 20), min_size=length, max_size=length)))
    frames = table(*lengths, numbers=numbers)
    seen = np.array(data.draw(st.lists(st.booleans(), min_size=len(frames), max_size=len(frames))))
    x = probs(len(frames))
    x[~seen] = np.nan
    found = smooth(Plain(), frames, seen, x, PRIOR)
    np.testing.assert_allclose(found, imputed_by_hand(x, frames, seen), rtol=1e-12)


@settings(max_examples=examples(40))
@given(data=st.data())
def test_a_window_sees_its_own_clip_and_frame_numbers_only(data: Any) -> None:
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    numbers: list[int] = []
    for length in lengths:
        numbers += sorted(data.draw(st.sets(st.integers(0, 15), min_size=length, max_size=length)))
    frames = table(*lengths, numbers=numbers)
    seen = np.array(data.draw(st.lists(st.booleans(), min_size=len(frames), max_size=len(frames))))
    x = probs(len(frames))
    reference = np.tile(PRIOR, (len(frames), 1))
    for row in np.flatnonzero(seen):
        around = [
            x[other]
            for other in np.flatnonzero(seen)
            if frames.clip[other] == frames.clip[row] and abs(int(frames.number[other] - frames.number[row])) <= 1
        ]
        reference[row] = np.mean(around, axis=0)
    found = smooth(Box(3), frames, seen, x, PRIOR)
    np.testing.assert_allclose(found, imputed_by_hand(reference, frames, seen), rtol=1e-12)


def test_changing_one_clip_changes_no_other() -> None:
    frames, x = table(4, 4), probs(8)
    other = x.copy()
    other[:4] = probs(4, seed=9)
    one, two = (smooth(Box(9), frames, np.ones(8, bool), values, PRIOR) for values in (x, other))
    np.testing.assert_array_equal(one[4:], two[4:])
    assert not np.allclose(one[:4], two[:4])


def test_every_row_sums_to_one() -> None:
    class Doubled(Smoother):
        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            return 2 * x

    found = smooth(Doubled(), table(5, 2), np.array([1, 1, 0, 1, 1, 0, 0], bool), probs(7), PRIOR)
    np.testing.assert_allclose(found.sum(1), 1)


@pytest.mark.parametrize("needs", ["probs", "logits", "embeddings"])
def test_a_smoother_is_given_what_it_needs(needs: str) -> None:
    class Asking(Plain):
        pass

    Asking.needs = needs  # type: ignore[assignment]
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    face, eye = np.arange(8.0, dtype=np.float32).reshape(4, 2), np.arange(12.0, dtype=np.float32).reshape(4, 1, 3)
    part = FeaturesInMemory({"face": face, "eye": eye}, dict.fromkeys(("face", "eye"), np.ones(4, bool)))
    expected = {
        "probs": scipy_softmax(logits.astype(float), axis=1),
        "logits": logits,
        "embeddings": np.hstack([face, eye[:, 0]]),
    }
    rows = np.array([2, 0, 3])
    found = smoother_input(smoother_of(Asking(), logits.shape[1]), logits, part)[rows]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected[needs][rows], rtol=1e-6)


def test_a_smoother_of_embeddings_that_gives_the_wrong_width_is_refused() -> None:
    class Narrow(Smoother):
        needs = "embeddings"

        def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
            return np.ones((len(x), 1))

    with pytest.raises(PluginError, match=r"smoother Narrow gave \(4, 1\); expected \(4, 3\)"):
        smooth(smoother_of(Narrow(), 3), table(4), np.ones(4, bool), np.ones((4, 7)), PRIOR)


class WithSound(Smoother):
    """The mean of a prediction and that of another stream, found by clip and frame number."""

    fitted = True

    def __init__(self, sound: dict[tuple[str, int], np.ndarray]) -> None:
        self.sound = sound

    def fit(self, clips: Any, labels: Any, seed: int) -> None:
        self.fitted_on = [(clip.name, clip.number.tolist(), len(x), clip.rate) for x, clip in clips]

    def smooth(self, x: np.ndarray, clip: Clip, /) -> np.ndarray:
        assert not clip.number.flags.writeable
        return x + np.stack([self.sound[clip.name, number] for number in clip.number.tolist()])


def test_a_smoother_that_asks_for_its_clip_gets_name_numbers_and_rate() -> None:
    frames, x = table(3, 2, numbers=[4, 5, 9, 4, 7]), probs(5)
    frames = replace(frames, rate=np.array([np.nan] * 3 + [30.0] * 2))
    seen = np.array([True, False, True, True, True])
    other = probs(5, seed=1)
    keys = list(zip(frames.clip.tolist(), frames.number.tolist(), strict=True))
    smoother = WithSound(dict(zip(keys, other, strict=True)))
    fit_smoother(smoother_of(smoother, 3), frames, seen, x, np.zeros(5, int), 0)
    assert smoother.fitted_on == [("c0", [4, 9], 2, None), ("c1", [4, 7], 2, 30.0)]
    found = smooth(smoother_of(smoother, 3), frames, seen, x, PRIOR)
    np.testing.assert_allclose(found[seen], ((x + other) / 2)[seen], rtol=1e-12)


def test_a_learned_smoother_gets_clips_with_their_seen_frames_numbers_and_labels() -> None:
    Learned.given.clear()
    frames = table(3, 2, 2, numbers=[0, 4, 5, 1, 2, 7, 9])
    seen = np.array([1, 0, 1, 1, 1, 0, 0], bool)
    x, labels = probs(7), np.array([0, 1, 2, -1, 1, 0, 0])
    fit_smoother(smoother_of(Learned(), 3), frames, seen, x, labels, 11)
    ((found, truth, seed),) = Learned.given
    assert seed == 11
    assert [numbers.tolist() for _, numbers in found] == [[0, 5], [1, 2]]
    assert [part.tolist() for part in truth] == [[0, 2], [-1, 1]]
    np.testing.assert_array_equal(found[0][0], x[[0, 2]])


def by_hand(method: str, probs: np.ndarray, have: list[int], number: int) -> np.ndarray:
    if number in have:
        return probs[have.index(number)]
    if method == "prior" or not have:
        return PRIOR
    before = [n for n in have if n < number]
    after = [n for n in have if n > number]
    if not before or not after:
        return probs[0] if not before else probs[-1]
    left, right = before[-1], after[0]
    a, b = probs[have.index(left)], probs[have.index(right)]
    if method == "nearest":
        return a if number - left <= right - number else b
    return a + (b - a) * (number - left) / (right - left)


@pytest.mark.parametrize("method", IMPUTE)
@given(data=st.data())
def test_each_method_equals_a_frame_by_frame_computation(method: str, data: Any) -> None:
    have = sorted(data.draw(st.sets(st.integers(0, 40), max_size=8)))
    want = data.draw(st.lists(st.integers(-3, 45), max_size=12))
    probs = np.random.default_rng(len(have)).dirichlet([1, 1, 1], len(have))
    found = impute(method, probs, np.array(have, np.int64), np.array(want, np.int64), PRIOR)
    expected = np.array([by_hand(method, probs, have, number) for number in want]).reshape(-1, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1)


def test_frames_that_have_a_result_keep_its_bits() -> None:
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], 5)
    have = np.array([2, 3, 7, 11, 12])
    for method in IMPUTE:
        np.testing.assert_array_equal(impute(method, probs, have, have[::-1], PRIOR), probs[::-1])


def test_a_config_offers_every_method() -> None:
    assert {*_BETWEEN, "prior"} == set(IMPUTE)


class Beside(Smoother):
    """Keeps what it gets."""

    needs_embeddings = True
    fitted = True

    def fit(self, clips: Any, labels: Any, seed: int) -> None:
        self.fitted_on = [(x, clip.embeddings) for x, clip in clips]

    def smooth(self, x: np.ndarray, clip: Clip) -> np.ndarray:
        self.smoothed = [*getattr(self, "smoothed", []), (x, clip.embeddings)]
        return x


def test_embeddings_beside_predictions_are_of_the_same_frames_with_views_side_by_side() -> None:
    frames, outputs = table(3, 2), np.random.default_rng(3).normal(size=(5, 3))
    views = {
        "face": np.random.default_rng(4).normal(size=(5, 4)),
        "eye": np.random.default_rng(5).normal(size=(5, 2, 3, 2)),
    }
    features = FeaturesInMemory({name: value.astype(np.float32) for name, value in views.items()}, {})
    seen = np.array([True, False, True, True, True])
    smoother = Beside()
    task_smoother = smoother_of(smoother, 3)
    x = smoother_input(task_smoother, outputs, features)
    fit_smoother(task_smoother, frames, seen, x, np.zeros(5, int), 0)
    found = smooth(task_smoother, frames, seen, x, PRIOR)
    np.testing.assert_allclose(found[seen], scipy_softmax(outputs, axis=1)[seen], rtol=1e-12)
    expected = np.hstack([views["face"], views["eye"].mean((1, 2))])
    for clips_given in (smoother.fitted_on, smoother.smoothed):
        for (probs, embeddings), rows in zip(clips_given, ([0, 2], [3, 4]), strict=True):
            np.testing.assert_allclose(probs, scipy_softmax(outputs, axis=1)[rows], rtol=1e-12)
            np.testing.assert_allclose(embeddings, expected[rows], rtol=1e-5, atol=1e-6)
