"""Properties of every smoother of the package."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from toy_clips import Clip, logit_clips, probability_clips, sticky_clips

from fusionkit.contracts import Clip as Whole
from fusionkit.contracts import Smoother
from fusionkit.errors import ConfigError, FusionKitError, PluginError
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.spec import Spec

ROOT = Path(__file__).parents[3]
CAUSAL = {"none", "exponential", "kalman-filter", "hmm-filter"}
FITTED = {"hmm", "hmm-filter", "tcn"}
DECISIONS = {"mode", "hmm:viterbi"}
# Symmetric in time.
SYMMETRIC = {"none", "median", "gaussian", "hamming", "savitzky-golay", "mode", "kalman"}


@cache
def points() -> dict[str, str]:
    found: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "entry-points"
    ]["fusionkit.smoothers"]
    return {name: target for name, target in found.items() if target.startswith("fusionkit_smoothers.")}


@cache
def component(name: str) -> type[Smoother]:
    loaded: type[Smoother] = EntryPoint(name, points()[name], "fusionkit.smoothers").load()
    return loaded


NAMES = sorted(points())
CASES = [
    pytest.param(name, options, id=f"{name}-{number}")
    for name in NAMES
    for number, options in enumerate(component(name).examples)
    if not component(name).needs_embeddings  # compared in test_windows
]
CAUSAL_CASES = [case for case in CASES if case.values[0] in CAUSAL]
FITTED_CASES = [case for case in CASES if case.values[0] in FITTED]


def dev(needs: str, classes: int) -> tuple[list[Clip], list[np.ndarray]]:
    clips, labels = sticky_clips(4, 60, classes, seed=3)
    return [(x if needs == "logits" else softmax(x, axis=1), numbers) for x, numbers in clips], labels


def fitted(name: str, options: dict[str, Any], classes: int) -> Smoother:
    smoother = component(name)(**options)
    smoother.fit(*dev(smoother.needs, classes), seed=0)
    return smoother


KEPT: dict[str, Smoother] = {}


def ready(name: str, options: dict[str, Any], classes: int) -> Smoother:
    if name not in FITTED:
        return component(name)(**options)
    key = f"{name} {options} {classes}"
    if key not in KEPT:
        KEPT[key] = fitted(name, options, classes)
    return KEPT[key]


def clip_for(data: st.DataObject, name: str) -> Clip:
    clip: Clip = data.draw(logit_clips() if component(name).needs == "logits" else probability_clips())
    return clip


def plain(name: str, x: np.ndarray) -> np.ndarray:
    """The probabilities that go in."""
    return softmax(x, axis=1) if component(name).needs == "logits" else x


def test_all_smoothers_are_tested() -> None:
    assert set(NAMES) >= CAUSAL | FITTED | SYMMETRIC
    assert {name for name in NAMES if component(name).causal} == CAUSAL
    assert {name for name in NAMES if component(name).fitted} == FITTED


@pytest.mark.parametrize(("name", "options"), CASES)
@settings(max_examples=examples(20))
@given(data=st.data())
def test_rows_are_probabilities_and_the_input_is_unchanged(
    name: str, options: dict[str, Any], data: st.DataObject
) -> None:
    x, numbers = clip_for(data, name)
    before = x.copy(), numbers.copy()
    smoother = ready(name, options, x.shape[1])
    found = smoother(x, numbers)
    assert found.shape == x.shape
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(numbers, before[1])
    if smoother.hard:
        assert set(np.unique(found)) <= {0.0, 1.0}


def test_decisions_are_declared_hard() -> None:
    assert component("mode")().hard
    assert component("hmm")(decode="viterbi").hard
    assert not any(component(name)().hard for name in NAMES if name != "mode")


@pytest.mark.parametrize(("name", "options"), CASES)
@settings(max_examples=examples(15))
@given(data=st.data())
def test_only_differences_between_frame_numbers_count(name: str, options: dict[str, Any], data: st.DataObject) -> None:
    x, numbers = clip_for(data, name)
    smoother = ready(name, options, x.shape[1])
    shift = data.draw(st.integers(-(10**9), 10**9))
    np.testing.assert_array_equal(smoother(x, numbers + shift), smoother(x, numbers))


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if case.values[0] not in FITTED | {"mode"}])
@settings(max_examples=examples(20))
@given(data=st.data())
def test_a_constant_clip_is_unchanged(name: str, options: dict[str, Any], data: st.DataObject) -> None:
    x, numbers = clip_for(data, name)
    constant = np.repeat(x[:1], len(x), axis=0)
    found = ready(name, options, x.shape[1])(constant, numbers)
    np.testing.assert_allclose(found, plain(name, constant), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_clip_of_one_frame_is_unchanged(name: str, options: dict[str, Any]) -> None:
    smoother = ready(name, options, 3)
    for x in np.random.default_rng(0).dirichlet(np.ones(3), size=(20, 1)):
        expected = plain(name, x)
        expected = np.eye(3)[expected.argmax(1)] if smoother.hard else expected
        np.testing.assert_allclose(smoother(x, np.array([7])), expected, rtol=1e-14)


def nearest_odd_to_a_third(length: int) -> int:
    return min(range(1, length + 2, 2), key=lambda width: (abs(3 * width - length), -width))


@pytest.mark.parametrize("length", [1, 2, 5, 11, 12, 17, 100, 302, 306, 5000])
@pytest.mark.parametrize(
    ("name", "option", "of"),
    [
        *((name, "width", lambda width: width) for name in ("median", "hamming", "savitzky-golay", "mode")),
        ("gaussian", "sigma", lambda width: min(width / 4, 25)),
        ("kalman", "noise", lambda width: min(width**2 / 25, 400)),
    ],
)
def test_the_default_is_a_third_of_the_clip_and_at_most_101(
    name: str, option: str, of: Callable[[int], float], length: int
) -> None:
    rng = np.random.default_rng(length)
    x = rng.dirichlet(np.ones(3), size=length)
    numbers = np.arange(length) + 70
    if length > 3:  # lost frames count
        kept = np.r_[0, 1 + np.sort(rng.permutation(length - 2)[: length // 2]), length - 1]
        x, numbers = x[kept], numbers[kept]
    width = min(nearest_odd_to_a_third(length), 101)
    expected = component(name)(**{option: of(width)})(x, numbers)
    np.testing.assert_allclose(component(name)()(x, numbers), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("name", "option", "value", "tolerance"),
    [
        *((name, "width", 31, 0.0) for name in ("median", "mode")),
        ("gaussian", "sigma", 12, 0.01),
        ("exponential", "half_life", 10, 0.01),
        ("kalman", "noise", 100, 0.01),
        ("kalman-filter", "noise", 100, 0.06),
    ],
)
def test_the_span_is_the_number_of_frames_that_are_averaged(
    name: str, option: str, value: float, tolerance: float
) -> None:
    smoother = component(name)(**{option: value})
    assert smoother.span is not None
    if option == "width":
        assert smoother.span == value
        return
    # Small bumps of one class: a linear response, also of logits. The last frame is the latest that any frame reaches.
    length, frame = 201, 200 if smoother.causal else 100
    weights = np.empty(length)
    for row in range(length):
        logits = np.zeros((length, 2))
        logits[row, 0] = 1e-3
        weights[row] = (
            smoother(logits if smoother.needs == "logits" else softmax(logits, 1), np.arange(length))[frame, 0] - 0.5
        )
    weights /= weights.sum()
    assert smoother.span == pytest.approx(1 / (weights**2).sum(), rel=tolerance)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_an_empty_clip_gives_an_empty_clip(name: str, options: dict[str, Any]) -> None:
    assert ready(name, options, 3)(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)).shape == (0, 3)


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if case.values[0] in SYMMETRIC])
@settings(max_examples=examples(20))
@given(data=st.data())
def test_time_may_run_backwards(name: str, options: dict[str, Any], data: st.DataObject) -> None:
    x, numbers = clip_for(data, name)
    smoother = ready(name, options, x.shape[1])
    backwards = smoother(x[::-1], -numbers[::-1])[::-1]
    np.testing.assert_allclose(backwards, smoother(x, numbers), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if case.values[0] != "none"])
def test_frames_beyond_a_wide_gap_count_less_than_near_ones(name: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(24, 4))
    logits[:12, 0] += 3
    logits[12:, 1] += 3
    smoother = ready(name, options, 4)
    x = logits if smoother.needs == "logits" else softmax(logits, axis=1)
    near, far = np.arange(24), np.arange(24) + 10**6 * (np.arange(24) >= 12)
    alone = np.concatenate([smoother(x[:12], near[:12]), smoother(x[12:], near[12:])])
    apart = np.abs(smoother(x, far) - alone).max()
    assert apart <= np.abs(smoother(x, near) - alone).max()
    if name not in FITTED:
        assert apart < 1e-3


# -- causal ones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), CAUSAL_CASES)
@settings(max_examples=examples(25))
@given(data=st.data())
def test_later_frames_change_nothing_before(name: str, options: dict[str, Any], data: st.DataObject) -> None:
    x, numbers = clip_for(data, name)
    smoother = ready(name, options, x.shape[1])
    stop = data.draw(st.integers(1, len(x)))
    other, later = x.copy(), numbers.copy()
    other[stop:] = np.roll(x[stop:], 1, axis=1)
    later[stop:] += data.draw(st.integers(0, 50))
    whole = smoother(x, numbers)[:stop]
    np.testing.assert_array_equal(smoother(other, later)[:stop], whole)
    np.testing.assert_array_equal(smoother(x[:stop], numbers[:stop]), whole)


@pytest.mark.parametrize(("name", "options"), CAUSAL_CASES)
@settings(max_examples=examples(25))
@given(data=st.data())
def test_frame_by_frame_gives_the_bits_of_the_whole_clip(
    name: str, options: dict[str, Any], data: st.DataObject
) -> None:
    x, numbers = clip_for(data, name)
    smoother = ready(name, options, x.shape[1])
    stream, beside = smoother.stream(), smoother.stream()
    found = []
    for row, number in zip(x, numbers.tolist(), strict=True):
        found.append(stream(row, number))
        beside(np.roll(row, 1), number)  # another face in the same picture
    np.testing.assert_array_equal(found, smoother(x, numbers))
    stream.reset()
    np.testing.assert_array_equal(stream(x[0], int(numbers[0])), smoother(x[:1], numbers[:1])[0])


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if case.values[0] not in CAUSAL])
def test_a_smoother_that_is_not_causal_uses_later_frames_and_cannot_stream(name: str, options: dict[str, Any]) -> None:
    smoother = ready(name, options, 3)
    logits = np.random.default_rng(1).normal(size=(40, 3))
    x = logits if smoother.needs == "logits" else softmax(logits, axis=1)
    with pytest.raises(PluginError, match="uses later frames") as caught:
        smoother.stream()(x[0], 0)
    assert type(smoother).__name__ in str(caught.value)
    if name != "tcn":  # trained for two epochs, it may have learned nothing
        other = np.concatenate([x[:20], np.roll(x[20:], 1, axis=1)])
        assert (smoother(x, np.arange(40))[:20] != smoother(other, np.arange(40))[:20]).any()


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_candidates_for_auto_rise_from_one_that_changes_nothing(name: str) -> None:
    cls = component(name)
    x = np.random.default_rng(0).dirichlet(np.ones(3), size=30)
    x = np.log(x) if cls.needs == "logits" else x
    clip = Whole("a", np.arange(30), embeddings=np.zeros((30, 1)))
    for option, candidates in cls.auto.items():
        assert list(candidates) == sorted(set(candidates))
        assert [getattr(cls(**{option: value}), option) for value in candidates] == list(candidates)
        mildest = cls(**{option: candidates[0]})(x, clip)
        expected = np.eye(3)[x.argmax(1)] if cls.hard else plain(name, x)
        np.testing.assert_allclose(mildest, expected, rtol=1e-15)
        with pytest.raises(PluginError, match=f"{option} = 'auto' has not been chosen"):
            cls(**{option: "auto"})(x, clip)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *((name, "width", value) for name in ("median", "hamming", "mode", "savitzky-golay") for value in (0, 4, 2.0)),
        *((name, "width", value) for name in ("median", "hamming", "mode", "savitzky-golay") for value in (True, "5")),
        *(("gaussian", "sigma", value) for value in (-1, float("nan"), float("inf"), "2", True)),
        ("gaussian", "truncate", 0),
        *(("exponential", "half_life", value) for value in (-0.5, float("inf"), None)),
        *((name, "noise", value) for name in ("kalman", "kalman-filter") for value in (-1, 1e10, "x", False)),
        *((name, "pseudo_count", value) for name in ("hmm", "hmm-filter") for value in (0, -1, "1")),
        *((name, "prior", "dev") for name in ("hmm", "hmm-filter")),
        ("hmm", "decode", "filter"),
        *(("savitzky-golay", "order", value) for value in (-1, 4, 1.5, True)),
        *(("tcn", option, 0) for option in ("channels", "layers", "epochs")),
    ],
)
def test_a_wrong_option_is_refused_in_one_line(name: str, option: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        SMOOTHERS.build(Spec(name, {option: value}))
    (line,) = caught.value.problems
    assert f"option {option} = {value!r} must be" in line
    assert repr(name) in line or component(name).__name__ in line
    assert "\n" not in line


# -- fitted ones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), FITTED_CASES)
def test_a_fitted_state_can_be_stored_and_restored(name: str, options: dict[str, Any]) -> None:
    smoother = ready(name, options, 4)
    state = smoother.state()
    assert state
    assert all(type(value) is np.ndarray and value.ndim and value.dtype != object for value in state.values())
    other = component(name)(**options)
    other.restore({key: value.copy() for key, value in state.items()})
    x, numbers = dev(smoother.needs, 4)[0][1]
    np.testing.assert_array_equal(other(x, numbers), smoother(x, numbers))
    assert sorted(other.state() or {}) == sorted(state)
    for key, value in (other.state() or {}).items():
        np.testing.assert_array_equal(value, state[key])


@pytest.mark.parametrize(("name", "options"), FITTED_CASES)
def test_an_unfitted_smoother_raises(name: str, options: dict[str, Any]) -> None:
    smoother = component(name)(**options)
    for use in (lambda: smoother(np.full((3, 2), 0.5), np.arange(3)), smoother.state):
        with pytest.raises(FusionKitError, match="has not been fitted"):
            use()


@pytest.mark.parametrize(("name", "options"), FITTED_CASES)
def test_fitting_again_gives_the_same_bits_and_does_not_change_the_clips(name: str, options: dict[str, Any]) -> None:
    one, two = fitted(name, options, 4).state(), fitted(name, options, 4).state()
    assert one is not None
    assert two is not None
    for key, value in one.items():
        np.testing.assert_array_equal(value, two[key])
    needs = component(name).needs
    clips, labels = dev(needs, 4)
    component(name)(**options).fit(clips, labels, seed=0)
    for (x, numbers), known, (x0, numbers0), known0 in zip(clips, labels, *dev(needs, 4), strict=True):
        np.testing.assert_array_equal(x, x0)
        np.testing.assert_array_equal(numbers, numbers0)
        np.testing.assert_array_equal(known, known0)


@pytest.mark.parametrize(("name", "options"), FITTED_CASES)
def test_clips_of_one_frame_are_enough_to_fit(name: str, options: dict[str, Any]) -> None:
    smoother = component(name)(**options)
    clips, labels = dev(smoother.needs, 3)
    stills = [(x[[0]], numbers[[0]]) for x, numbers in clips]
    smoother.fit(stills, [known[[0]] for known in labels], seed=0)
    assert smoother(*stills[0]).shape == (1, 3)
