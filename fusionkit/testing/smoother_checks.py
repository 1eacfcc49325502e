"""Checks of smoothers: valid rows for every clip, time taken from frame numbers, causality and fitting as declared."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from fusionkit.contracts.smoother import Clip, Smoother
from fusionkit.testing.case import (
    Skipped,
    Subject,
    Suite,
    is_close,
    require,
    require_close,
    require_same,
    require_state,
)
from fusionkit.testing.random_state import require_no_global_seed

CHECKS = Suite()
_CLASSES, _LENGTH, _RATE = 4, 24, 25.0
Rows = tuple[np.ndarray, np.ndarray]


@CHECKS.gate
def builds_and_runs(subject: Subject) -> None:
    """It is built, fitted if it learns something, and smooths a clip to weights of the right shape."""
    smoother = _ready(subject)
    _result(smoother, *_clip(smoother))


@CHECKS.root
def input_is_not_changed(subject: Subject) -> None:
    """Predictions and frame numbers are unchanged after the call."""
    smoother = _ready(subject)
    x, numbers = _clip(smoother, gaps=True)
    before = x.copy(), numbers.copy()
    _result(smoother, x, numbers)
    require_same(x, before[0], "smooth(): changes x")
    require_same(numbers, before[1], "smooth(): changes frame_numbers")


@CHECKS.root
def same_input_same_result(subject: Subject) -> None:
    """A call after other clips, and a second instance, give the same bits."""
    smoother = _ready(subject)
    first = _smoothed(smoother)
    _result(smoother, *_clip(smoother, 50, seed=3))
    require_same(_smoothed(smoother), first, "smooth(): a second call with the same clip differs")
    require_same(_smoothed(_ready(subject)), first, "smooth(): a second instance with equal options and seed differs")


@CHECKS.check
def global_seed_is_not_set(subject: Subject) -> None:
    """It does not set the seed of a global random generator."""
    require_no_global_seed(lambda: _smoothed(_ready(subject)), "__init__(), fit() or smooth()")


@CHECKS.check
def needs_is_known(subject: Subject) -> None:
    """``needs`` is ``probs``, ``logits`` or ``embeddings``."""
    needs = _ready(subject).needs
    known = needs in ("probs", "logits", "embeddings")
    require(known, f"needs: expected probs, logits or embeddings, found {needs!r}")


@CHECKS.check
def hard_is_as_declared(subject: Subject) -> None:
    """If ``hard`` is True, every row is one-hot."""
    smoother = _ready(subject)
    if not smoother.hard:
        raise Skipped("it gives probabilities, not decisions")
    smoothed = _result(smoother, *_clip(smoother))
    require(np.isin(smoothed, (0.0, 1.0)).all(), "smooth(): expected one-hot rows, since hard = True; found others")


@CHECKS.check
def clips_of_any_length(subject: Subject) -> None:
    """It smooths clips of one frame, two, three, and many."""
    smoother = _ready(subject)
    for length in (1, 2, 3, 300):
        _result(smoother, *_clip(smoother, length))


@CHECKS.check
def certain_predictions(subject: Subject) -> None:
    """It smooths one-hot probabilities, and logits that are as far apart."""
    smoother = _ready(subject)
    certain = np.eye(_CLASSES)[np.arange(_LENGTH) // 6 % _CLASSES]
    _result(smoother, 60 * certain - 30 if smoother.needs == "logits" else certain, _numbers(gaps=True))


@CHECKS.check
def constant_clip_stays(subject: Subject) -> None:
    """A clip with constant predictions is not changed."""
    smoother = _ready(subject)
    if smoother.fitted or smoother.needs == "embeddings":
        raise Skipped("it is fitted" if smoother.fitted else "it needs embeddings")
    x = np.repeat(_values(smoother, 1), _LENGTH, axis=0)
    expected = np.exp(x) / np.exp(x).sum(1, keepdims=True) if smoother.needs == "logits" else x
    for gaps in (False, True):
        smoothed = _result(smoother, x, _numbers(gaps=gaps))
        if smoother.hard:
            require_same(smoothed.argmax(1), expected.argmax(1), "smooth(): a constant clip gets another class")
        else:
            require_close(smoothed, expected, "smooth(): a constant clip is changed")


@CHECKS.check
def one_frame_stays(subject: Subject) -> None:
    """A clip of one frame keeps its class probabilities; a smoother of decisions keeps the class."""
    smoother = _ready(subject)
    if smoother.needs == "embeddings":
        raise Skipped("it needs embeddings")
    for seed in range(8):
        x, numbers = _clip(smoother, 1, seed=seed)
        expected = np.exp(x) / np.exp(x).sum() if smoother.needs == "logits" else x
        found, what = _result(smoother, x, numbers), "smooth(): a clip of one frame is changed: it has no neighbours"
        if smoother.hard:
            require_same(found.argmax(1), expected.argmax(1), what)
        else:
            require_close(found, expected, what)


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Options written as a SPEC and parsed again build the same smoother; workers get it that way."""
    again = _fitted(subject.build_from_text())
    require_same(_smoothed(again), _smoothed(_ready(subject)), f"built from {subject.text}: results differ")


@CHECKS.check
def auto_values_can_be_used(subject: Subject) -> None:
    """Each candidate value of ``auto`` builds a smoother that works."""
    if not subject.cls.auto:
        raise Skipped("no option can be 'auto'")
    for option, candidates in subject.cls.auto.items():
        require(candidates, f"auto[{option!r}]: expected candidate values, found none")
        for value in candidates:
            smoother = subject.build({option: value})
            if not smoother.fitted:
                _result(smoother, *_clip(smoother))


@CHECKS.check
def gaps_in_frame_numbers(subject: Subject) -> None:
    """Frame numbers may have short and very long gaps."""
    smoother = _ready(subject)
    x, numbers = _clip(smoother, gaps=True)
    _result(smoother, x, numbers)
    _result(smoother, x, np.where(np.arange(_LENGTH) < 12, numbers, numbers + 1_000_000))


@CHECKS.check
def rate_may_be_unknown(subject: Subject) -> None:
    """It smooths a clip of unknown rate, too, unless ``needs_rate`` is True."""
    smoother = _ready(subject)
    if smoother.needs_rate:
        raise Skipped("it needs the rate")
    x, numbers = _clip(smoother)
    smoother(x, Clip("clip", numbers, embeddings=_embeddings(len(x))))


@CHECKS.check
def embeddings_have_an_effect(subject: Subject) -> None:
    """If ``needs_embeddings`` is True, other embeddings of the clip change the result; ``smooth`` gets the clip."""
    smoother = _ready(subject)
    if not smoother.needs_embeddings:
        raise Skipped("it needs none")
    x, numbers = _clip(smoother)
    results = [_result(smoother, x, numbers, _embeddings(len(x), seed)) for seed in range(4)]
    different = not all(is_close(each, results[0]) for each in results)
    require(different, "smooth(): needs_embeddings = True, but the embeddings of the clip have no effect")


@CHECKS.check
def shift_of_frame_numbers(subject: Subject) -> None:
    """Only distances between frame numbers matter."""
    smoother = _ready(subject)
    x, numbers = _clip(smoother, gaps=True)
    for shift in (-1, 5000):
        what = f"smooth(): frame numbers shifted by {shift} change the result"
        require_close(_result(smoother, x, numbers + shift), _result(smoother, x, numbers), what, atol=1e-8)


@CHECKS.root
def result_is_not_shifted(subject: Subject) -> None:
    """A change in the predictions shows at the same frames: a frame has an effect on itself, a pulse on both sides.

    The result of a causal smoother comes late by design, so that only its effect on the same frame is checked.
    """
    smoother = _ready(subject)
    _require_own_effect(smoother)
    if not smoother.causal and not smoother.fitted and smoother.needs != "embeddings":
        _require_centred_pulse(smoother)


@CHECKS.check
def gaps_are_gaps_in_time(subject: Subject) -> None:
    """If frames are far apart in time, neighbours have less effect than in consecutive frames."""
    smoother = _ready(subject)
    if not _is_local(smoother):
        raise Skipped("neighbouring frames have no more effect than distant ones")
    for seed in range(4):
        x, numbers = _clip(smoother, 40, seed=seed)
        spread = np.cumsum(1_000 * (1 + numbers % 3))
        if not is_close(_result(smoother, x, spread), _result(smoother, x, numbers)):
            return
    require(
        condition=False,
        message="smooth(): expected another result for frames that are 1,000 and more apart, found the same; "
        "does it average rows instead of frame numbers?",
    )


@CHECKS.check
def causal_uses_no_later_frame(subject: Subject) -> None:
    """If ``causal`` is True, the result of a frame does not depend on later frames."""
    smoother = _causal(subject)
    x, numbers = _clip(smoother, gaps=True)
    whole = _result(smoother, x, numbers)
    for end in range(1, _LENGTH):
        what = f"smooth(): causal = True, but the first {end} frames alone differ from those in the clip"
        require_close(_result(smoother, x[:end], numbers[:end]), whole[:end], what, atol=1e-8)


@CHECKS.check
def frame_by_frame_is_the_clip(subject: Subject) -> None:
    """A causal smoother gives the same for frames one by one as for the clip, also after a reset."""
    smoother = _causal(subject)
    x, numbers = _clip(smoother, gaps=True)
    whole = _result(smoother, x, numbers)
    if not is_close(_result(smoother, x[:12], numbers[:12]), whole[:12]):
        raise Skipped("causal_uses_no_later_frame fails")
    stream = smoother.stream()
    for _ in range(2):
        rows = [stream(row, int(number)) for row, number in zip(x, numbers, strict=True)]
        require_close(np.stack(rows), whole, "step(): results frame by frame differ from those of the clip", atol=1e-8)
        stream.reset()


@CHECKS.check
def streams_are_independent(subject: Subject) -> None:
    """Two clips, frame by frame in turn, give the same as one after the other."""
    smoother = _causal(subject)
    clips = [_clip(smoother, seed=seed, gaps=seed == 1) for seed in (0, 1)]
    alone = []
    for x, numbers in clips:
        stream = smoother.stream()
        alone.append(np.stack([stream(row, int(number)) for row, number in zip(x, numbers, strict=True)]))
    streams = [smoother.stream(), smoother.stream()]
    together: list[list[np.ndarray]] = [[], []]
    for index in range(_LENGTH):
        for rows, stream, (x, numbers) in zip(together, streams, clips, strict=True):
            rows.append(stream(x[index], int(numbers[index])))
    for rows, expected in zip(together, alone, strict=True):
        require_close(np.stack(rows), expected, "step(): another stream changes the result", atol=1e-8)


@CHECKS.check
def fit_is_as_declared(subject: Subject) -> None:
    """If ``fitted`` is False, ``fit`` has no effect; the kernel does not call it."""
    smoother = subject.build()
    if smoother.fitted:
        raise Skipped("it is fitted")
    before = _smoothed(smoother)
    smoother.fit(*_training(smoother), 0)
    require_same(_smoothed(smoother), before, "fit(): changes the result, but fitted = False")


@CHECKS.check
def fit_does_not_change_its_input(subject: Subject) -> None:
    """Clips and labels are unchanged after fitting."""
    smoother = _learner(subject)
    clips, labels = _training(smoother)
    smoother.fit(clips, labels, 0)
    for (x, clip), found, (old_x, old_clip), old in zip(clips, labels, *_training(smoother), strict=True):
        require_same(x, old_x, "fit(): changes the values of a clip")
        require_same(_numbers_of(clip), _numbers_of(old_clip), "fit(): changes frame numbers")
        require_same(found, old, "fit(): changes labels")


@CHECKS.check
def second_fit_replaces_the_first(subject: Subject) -> None:
    """A second fit gives the same as a single one."""
    smoother = _learner(subject)
    clips, labels = _training(smoother)
    smoother.fit(clips[::2], [found[::-1].copy() for found in labels[::2]], 0)
    smoother.fit(clips, labels, 0)
    require_same(_smoothed(smoother), _smoothed(_ready(subject)), "fit(): an earlier fit changes the result")


@CHECKS.check
def few_clips_and_missing_classes(subject: Subject) -> None:
    """It can be fitted on one clip with unlabelled frames and without one of the classes."""
    smoother = _learner(subject)
    clips, labels = _training(smoother)
    smoother.fit(clips[:1], [np.where(labels[0] == 1, 0, labels[0])], 0)
    _smoothed(smoother)


@CHECKS.check
def state_round_trip(subject: Subject) -> None:
    """``state`` gives named arrays, and an instance restored from them gives the same bits."""
    smoother = _learner(subject)
    smoother.fit(*_training(smoother), 0)
    if smoother.state() is None:
        raise Skipped("state() is None: a trained cell cannot be applied to new frames")
    other = subject.build()
    other.restore(require_state(smoother.state()))
    require_same(_smoothed(other), _smoothed(smoother), "restore(): a restored instance gives other results")


def _require_own_effect(smoother: Smoother) -> None:
    """Require that in some clip another prediction for a frame inside it changes the result of this frame."""
    for seed, length in itertools.product(range(6), (_LENGTH, 3)):
        x, numbers = _clip(smoother, length, seed=seed)
        before = _result(smoother, x, numbers)
        for at in range(1, length - 1, 3):
            if not is_close(_result(smoother, _other_class(x, at), numbers)[at], before[at]):
                return
    require(
        condition=False,
        message="smooth(): expected an effect of a frame's prediction on its own result, found none; is it shifted?",
    )


def _require_centred_pulse(smoother: Smoother) -> None:
    """Require that the result of a pulse of another class has its centre in the pulse.

    Smoothers remove short pulses, so that longer ones are tried too.
    """
    length = 601
    for width in (1, 5, 25, 125):
        certain = np.full((length, _CLASSES), 0.1 / (_CLASSES - 1))
        certain[:, 0] = 0.9
        inside = slice((length - width) // 2, (length + width) // 2)
        certain[inside, :2] = certain[inside, 1::-1]
        x = np.log(certain) if smoother.needs == "logits" else certain
        found = _result(smoother, x, _numbers(length), np.zeros((length, 3)))[:, 1]
        response = np.abs(found - found[0])
        response[response < 1e-3 * response.max()] = 0
        if response.sum() < 0.05:
            continue
        shift = response @ np.arange(length) / response.sum() - (length - 1) / 2
        require(
            abs(shift) < 0.75,
            f"smooth(): expected the result of a pulse of {width} frames at the same frames, found it "
            f"{abs(shift):.2g} frames {'later' if shift > 0 else 'earlier'}; a causal smoother declares causal = True",
        )


def _is_local(smoother: Smoother) -> bool:
    """Return whether a frame has more effect on its neighbours than on frames that are far away."""
    length, at = 300, 20
    for seed in range(4):
        x, numbers = _clip(smoother, length, seed=seed)
        before = _result(smoother, x, numbers)
        changed = x
        for row in range(at, at + 3):
            changed = _other_class(changed, row)
        effect = np.abs(_result(smoother, changed, numbers) - before).max(1)
        near = max(effect[at - 3 : at].max(), effect[at + 3 : at + 6].max())
        if near > 1e-6 and near > 2 * effect[200:].max():
            return True
    return False


def _other_class(x: np.ndarray, row: int) -> np.ndarray:
    """Return values with the order of the classes reversed in one row."""
    changed = x.copy()
    changed[row] = x[row, ::-1]
    return changed


def _ready(subject: Subject) -> Smoother:
    return _fitted(subject.build())


def _fitted(smoother: Smoother) -> Smoother:
    """Fit a smoother if it learns something."""
    if smoother.fitted:
        smoother.fit(*_training(smoother), 0)
    return smoother


def _learner(subject: Subject) -> Smoother:
    smoother: Smoother = subject.build()
    if not smoother.fitted:
        raise Skipped("it is not fitted")
    return smoother


def _causal(subject: Subject) -> Smoother:
    smoother = _ready(subject)
    if smoother.needs_embeddings:
        raise Skipped("it needs the embeddings of the clip")
    if not smoother.causal:
        raise Skipped("it uses later frames")
    return smoother


def _smoothed(smoother: Smoother) -> np.ndarray:
    return _result(smoother, *_clip(smoother, gaps=True))


def _result(smoother: Smoother, x: np.ndarray, numbers: np.ndarray, embeddings: np.ndarray | None = None) -> np.ndarray:
    return smoother(x, Clip("clip", numbers, _RATE, _embeddings(len(x)) if embeddings is None else embeddings))


def _embeddings(length: int, seed: int = 6) -> np.ndarray:
    """Return (T, D) embeddings that change from frame to frame, and now and then at once."""
    steps = np.random.default_rng(seed).normal(size=(length, 3))
    steps[1::3] *= 0.2
    return np.cumsum(steps, axis=0)


def _clip(smoother: Smoother, length: int = _LENGTH, *, seed: int = 0, gaps: bool = False) -> Rows:
    return _values(smoother, length, seed), _numbers(length, gaps=gaps)


def _numbers(length: int = _LENGTH, *, gaps: bool = False) -> np.ndarray:
    """Return frame numbers from 1; with gaps, every fourth is far from the previous one."""
    steps = np.ones(length, dtype=np.int64)
    if gaps:
        steps[3::4] = 5
        steps[7::8] = 40
    return np.cumsum(steps)


def _values(smoother: Smoother, length: int, seed: int = 0) -> np.ndarray:
    """Return (T, C) noisy probabilities, logits or embeddings of classes that last some frames."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(rng.integers(_CLASSES, size=length // 5 + 1), 5)[:length]
    logits = rng.normal(size=(length, _CLASSES)) + 1.5 * np.eye(_CLASSES)[classes]
    if smoother.needs in ("logits", "embeddings"):
        return logits
    weights = np.exp(logits)
    probs: np.ndarray = weights / weights.sum(1, keepdims=True)
    return probs


def _training(smoother: Smoother) -> tuple[list[tuple[np.ndarray, Any]], list[np.ndarray]]:
    """Return clips of several lengths, one of them a single frame, and labels, some of them -1."""
    rng = np.random.default_rng(8)
    rows = [_clip(smoother, length, seed=seed, gaps=seed % 2 == 1) for seed, length in enumerate((30, 1, 24, 40, 30))]
    clips = [(x, _argument(smoother, numbers)) for x, numbers in rows]
    labels = []
    for x, _ in rows:
        found = x[:, :_CLASSES].argmax(1).astype(np.int64)
        found[rng.random(len(x)) < 0.1] = -1
        labels.append(found)
    return clips, labels


def _argument(smoother: Smoother, numbers: np.ndarray) -> Clip | np.ndarray:
    """Return what :meth:`Smoother.clip_argument` does, writable."""
    argument = smoother.clip_argument(Clip("clip", numbers, _RATE, _embeddings(len(numbers))))
    return replace(argument, number=numbers) if isinstance(argument, Clip) else numbers


def _numbers_of(argument: Clip | np.ndarray) -> np.ndarray:
    return argument.number if isinstance(argument, Clip) else argument
