"""The hidden Markov model against the enumeration of all paths, and what it learns against counts by hand."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from toy_clips import Clip, probability_clips

from fusionkit_smoothers.hmm import Hmm, HmmFilter, implied_prior


def learned(classes: int, seed: int, step: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(classes), size=classes) + 3 * np.eye(classes)
    return {
        "transition": transition / transition.sum(1, keepdims=True),
        "prior": rng.dirichlet(np.full(classes, 5.0)),
        "step": np.array([step]),
    }


def restored(cls: type[Any], state: dict[str, np.ndarray], **options: Any) -> Any:
    smoother = cls(**options)
    smoother.restore(state)
    return smoother


def weights_of_paths(clip: Clip, state: dict[str, np.ndarray]) -> dict[tuple[int, ...], float]:
    """Weight of each path: the prior, transitions (a gap is as many as there are frames), emissions."""
    x, numbers = clip
    classes = range(x.shape[1])
    step = int(state["step"][0])

    def over(gap: int) -> np.ndarray:
        power = np.eye(len(classes))
        for _ in range(max(1, round(gap / step))):
            power = power @ state["transition"]
        return power

    leads = [over(int(gap)) for gap in np.diff(numbers)]
    emissions = x / state["prior"]
    found = {}
    for path in product(classes, repeat=len(x)):
        weight = state["prior"][path[0]] * emissions[0, path[0]]
        for row in range(1, len(x)):
            weight *= leads[row - 1][path[row - 1], path[row]] * emissions[row, path[row]]
        found[path] = float(weight)
    return found


def shares(paths: dict[tuple[int, ...], float], frames: int, classes: int) -> np.ndarray:
    out = np.zeros((frames, classes))
    for path, weight in paths.items():
        out[np.arange(frames), path] += weight
    return out / out.sum(1, keepdims=True)


SHORT = probability_clips(longest=5, widest_gap=6).filter(lambda clip: clip[0].shape[1] <= 4)


@settings(max_examples=examples(60))
@given(SHORT, st.integers(0, 100), st.sampled_from([1, 2, 5]))
def test_the_posterior_is_the_share_of_all_paths(clip: Clip, seed: int, step: int) -> None:
    state = learned(clip[0].shape[1], seed, step)
    expected = shares(weights_of_paths(clip, state), *clip[0].shape)
    np.testing.assert_allclose(restored(Hmm, state)(*clip), expected, rtol=0, atol=1e-12)


@settings(max_examples=examples(60))
@given(SHORT, st.integers(0, 100))
def test_filtering_is_the_share_of_all_paths_so_far(clip: Clip, seed: int) -> None:
    x, numbers = clip
    state = learned(x.shape[1], seed)
    found = restored(HmmFilter, state)(x, numbers)
    for stop in range(1, len(x) + 1):
        paths = weights_of_paths((x[:stop], numbers[:stop]), state)
        np.testing.assert_allclose(found[stop - 1], shares(paths, stop, x.shape[1])[-1], rtol=0, atol=1e-12)


@settings(max_examples=examples(60))
@given(SHORT, st.integers(0, 100))
def test_viterbi_takes_the_heaviest_path(clip: Clip, seed: int) -> None:
    state = learned(clip[0].shape[1], seed)
    paths = weights_of_paths(clip, state)
    found = restored(Hmm, state, decode="viterbi")(*clip)
    assert np.isin(found, [0, 1]).all()
    assert paths[tuple(found.argmax(1).tolist())] == pytest.approx(max(paths.values()), rel=1e-12)


def test_a_long_clip_of_certain_frames_neither_vanishes_nor_overflows() -> None:
    state = learned(4, 0)
    state["transition"] = np.full((4, 4), 1e-9) + (1 - 4e-9) * np.eye(4)
    rng = np.random.default_rng(0)
    x = softmax(200 * np.eye(4)[np.repeat(rng.integers(0, 4, 200), 100)], axis=1)
    numbers = np.cumsum(rng.choice([1, 1, 1, 10**7], size=len(x)))
    for smoother in (restored(Hmm, state), restored(Hmm, state, decode="viterbi"), restored(HmmFilter, state)):
        assert (smoother(x, numbers).argmax(1) == x.argmax(1)).all()


def test_smoother_and_filter_agree_on_the_last_frame() -> None:
    state = learned(5, 1)
    x = np.random.default_rng(0).dirichlet(np.ones(5), size=40)
    numbers = np.cumsum(np.random.default_rng(1).integers(1, 4, size=40))
    one, two = restored(Hmm, state)(x, numbers)[-1], restored(HmmFilter, state)(x, numbers)[-1]
    np.testing.assert_allclose(one, two, rtol=1e-12)


def test_agreeing_frames_add_certainty() -> None:
    """Why a constant clip is not unchanged."""
    state = {**learned(2, 0), "prior": np.full(2, 0.5), "step": np.array([1])}
    state["transition"] = np.array([[0.99, 0.01], [0.01, 0.99]])
    found = restored(HmmFilter, state)(np.tile([0.6, 0.4], (30, 1)), np.arange(30))[:, 0]
    assert found[0] == pytest.approx(0.6)
    assert (np.diff(found[:10]) > 0).all()
    assert found[-1] > 0.95


# -- fitting ----------------------------------------------------------------------------------------------------------


CLIPS = [(np.full((5, 3), 1 / 3), np.array([0, 1, 2, 4, 5])), (np.full((3, 3), 1 / 3), np.array([7, 8, 9]))]
LABELS = [np.array([0, 0, 1, 1, -1]), np.array([2, 2, 0])]


def test_transitions_and_shares_are_counts_with_pseudo_counts() -> None:
    smoother = Hmm(pseudo_count=0.5, prior="labels")
    smoother.fit(CLIPS, LABELS, seed=0)
    state = smoother.state()
    # One frame on: 0-0, 0-1 in the first clip (1 to 1 is over a gap, and then comes no label), 2-2, 2-0 in the second.
    counts = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1]]) + 0.5
    np.testing.assert_allclose(state["transition"], counts / counts.sum(1, keepdims=True), rtol=1e-15)
    share = np.array([3, 2, 2]) + 0.5
    np.testing.assert_allclose(state["prior"], share / share.sum(), rtol=1e-15)
    assert state["step"].tolist() == [1]


def test_a_step_is_what_lies_between_most_labelled_frames() -> None:
    numbers = [numbers * 5 for _, numbers in CLIPS]
    smoother = Hmm(prior="uniform")
    smoother.fit([(x, each) for (x, _), each in zip(CLIPS, numbers, strict=True)], LABELS, seed=0)
    assert smoother.state()["step"].tolist() == [5]
    plain = Hmm(prior="uniform")
    plain.fit(CLIPS, LABELS, seed=0)
    np.testing.assert_array_equal(smoother.state()["transition"], plain.state()["transition"])
    np.testing.assert_array_equal(smoother.state()["prior"], np.full(3, 1 / 3))


def test_frames_without_a_label_are_not_used_in_fitting() -> None:
    rng = np.random.default_rng(0)
    clips = [(rng.dirichlet(np.ones(3), size=20), np.arange(20)) for _ in range(3)]
    labels = [rng.integers(0, 3, size=20), rng.integers(0, 3, size=20), np.full(20, -1)]
    labels[0][15:] = -1
    x = clips[0][0].copy()
    x[15:] = 1 / 3
    others = [(x, np.arange(20)), clips[1], (np.full((9, 3), 1 / 3), np.arange(9) * 50)]
    one, other = HmmFilter(), HmmFilter()
    one.fit(clips, labels, seed=0)
    other.fit(others, [*labels[:2], np.full(9, -1)], seed=1)
    for key, value in one.state().items():
        np.testing.assert_array_equal(value, other.state()[key])


def test_the_implied_prior_is_the_one_under_which_a_head_was_trained() -> None:
    """Exact posteriors under shares q, labels drawn from other shares: q comes back."""
    rng = np.random.default_rng(0)
    q, share = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    labels = rng.choice(3, size=200_000, p=share)
    shown = np.eye(3)[labels] + rng.normal(scale=0.8, size=(len(labels), 3))
    likelihood = np.exp(-0.5 * ((shown[:, None] - np.eye(3)) ** 2).sum(-1) / 0.8**2)
    probs = likelihood * q
    probs /= probs.sum(1, keepdims=True)
    found = implied_prior(probs, np.bincount(labels) + 1.0, 1.0)
    np.testing.assert_allclose(found, q, rtol=0, atol=0.01)
    # At the maximum of likelihood, what is expected of each class is what was counted.
    counts = np.bincount(labels) + 1.0
    weight = counts / found
    expected = probs * weight
    expected = (expected / expected.sum(1, keepdims=True)).sum(0) + 3 * weight / weight.sum()
    np.testing.assert_allclose(expected, counts, rtol=1e-6)


@pytest.mark.parametrize("probs", [np.eye(3)[[0, 1, 1, 2]], np.eye(3)[[0, 0, 0, 0]], np.full((4, 3), 1 / 3)])
def test_the_implied_prior_of_a_head_that_is_always_certain_is_finite(probs: np.ndarray) -> None:
    found = implied_prior(probs, np.array([2.0, 1.0, 1.0]) + 0.5, 0.5)
    assert (found > 0).all()
    assert found.sum() == pytest.approx(1)


def test_it_is_more_accurate_than_the_frames_alone() -> None:
    rng = np.random.default_rng(0)
    shown = []
    for _ in range(8):
        labels = np.repeat(rng.integers(0, 4, 10), 30)
        logits = rng.normal(size=(300, 4)) + np.eye(4)[labels]
        shown.append((softmax(logits, axis=1), labels))
    for smoother in (Hmm(), Hmm(decode="viterbi"), HmmFilter()):
        smoother.fit([(x, np.arange(300)) for x, _ in shown[:4]], [labels for _, labels in shown[:4]], seed=0)
        right = [np.mean(smoother(x, np.arange(300)).argmax(1) == labels) for x, labels in shown[4:]]
        alone = [np.mean(x.argmax(1) == labels) for x, labels in shown[4:]]
        assert np.mean(right) > np.mean(alone) + 0.15
