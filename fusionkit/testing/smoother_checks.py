"""Clips that smoothers are tried on, and smoothers made ready for them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fusionkit.contracts.smoother import Smoother
from fusionkit.registry.spec import Spec
from fusionkit.testing.case import Skipped, Subject, Suite, is_close, require, require_close, require_same

CLASSES = 4
Clip = tuple[np.ndarray, np.ndarray]


def frame_numbers(length: int, *, gaps: bool = False) -> np.ndarray:
    """Frame numbers from 1 on; with gaps every fourth is far from the one before."""
    steps = np.ones(length, dtype=np.int64)
    if gaps:
        steps[3::4] = 5
        steps[7::8] = 40
    return np.cumsum(steps)


def values(smoother: Smoother, length: int, seed: int = 0) -> np.ndarray:
    """(T, C) of a class that lasts and noise: probabilities, logits or embeddings, as the smoother needs."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(rng.integers(CLASSES, size=length // 5 + 1), 5)[:length]
    logits = rng.normal(size=(length, CLASSES)) + 1.5 * np.eye(CLASSES)[classes]
    if smoother.needs in ("logits", "embeddings"):
        return logits
    weights = np.exp(logits)
    probs: np.ndarray = weights / weights.sum(1, keepdims=True)
    return probs


def training(smoother: Smoother) -> tuple[list[Clip], list[np.ndarray]]:
    """Clips and labels to fit on: of several lengths, one of them a single frame, some frames unlabelled."""
    rng = np.random.default_rng(8)
    lengths = (30, 1, 24, 40, 30)
    clips = [
        (values(smoother, length, seed), frame_numbers(length, gaps=seed % 2 == 1))
        for seed, length in enumerate(lengths)
    ]
    labels = []
    for x, _ in clips:
        found = x[:, :CLASSES].argmax(1).astype(np.int64)
        found[rng.random(len(x)) < 0.1] = -1
        labels.append(found)
    return clips, labels


def ready(subject: Subject, seed: int = 0) -> Smoother:
    """A smoother, fitted where it learns something."""
    smoother: Smoother = subject.build()
    if smoother.fitted:
        smoother.fit(*training(smoother), seed)
    return smoother


CHECKS = Suite()
_LENGTH = 24


@CHECKS.gate
def builds_and_runs(subject: Subject) -> None:
    """It is built, fitted where it learns something, and smooths a clip to weights of the right shape."""
    smoother = ready(subject)
    smoother(values(smoother, _LENGTH), frame_numbers(_LENGTH))


@CHECKS.check
def needs_is_known(subject: Subject) -> None:
    """``needs`` is ``probs``, ``logits`` or ``embeddings``: what the kernel can hand over."""
    needs = ready(subject).needs
    require(needs in ("probs", "logits", "embeddings"), f"needs = {needs!r} is not probs, logits or embeddings")


@CHECKS.check
def hard_is_as_declared(subject: Subject) -> None:
    """Where ``hard`` is True every row is one-hot."""
    smoother = ready(subject)
    if not smoother.hard:
        raise Skipped("it gives probabilities, not decisions")
    smoothed = smoother(values(smoother, _LENGTH), frame_numbers(_LENGTH))
    require(np.isin(smoothed, (0.0, 1.0)).all(), "hard = True, and a row is not one-hot")


@CHECKS.check
def clips_of_any_length(subject: Subject) -> None:
    """It works on clips of one frame, two, and many."""
    smoother = ready(subject)
    for length in (1, 2, 3, 300):
        smoother(values(smoother, length), frame_numbers(length))


@CHECKS.check
def certain_predictions(subject: Subject) -> None:
    """It works where a prediction is certain, and where classes have probability zero; logits as far apart as that."""
    smoother = ready(subject)
    certain = np.eye(CLASSES)[np.arange(_LENGTH) // 6 % CLASSES]
    smoother(60 * certain - 30 if smoother.needs == "logits" else certain, frame_numbers(_LENGTH, gaps=True))


@CHECKS.check
def constant_clip_stays(subject: Subject) -> None:
    """A clip whose predictions do not change comes back unchanged: smoothing adds nothing of its own."""
    smoother = ready(subject)
    if smoother.fitted or smoother.needs == "embeddings":
        raise Skipped("it is fitted" if smoother.fitted else "it needs embeddings")
    x = np.repeat(values(smoother, 1), _LENGTH, axis=0)
    wanted = np.exp(x) / np.exp(x).sum(1, keepdims=True) if smoother.needs == "logits" else x
    for gaps in (False, True):
        smoothed = smoother(x, frame_numbers(_LENGTH, gaps=gaps))
        if smoother.hard:
            require_same(smoothed.argmax(1), wanted.argmax(1), "a clip without change is given another class")
        else:
            require_close(smoothed, wanted, "a clip without change is changed")


@CHECKS.check
def input_is_not_changed(subject: Subject) -> None:
    """Predictions and frame numbers are as they were before the call."""
    smoother = ready(subject)
    x, numbers = values(smoother, _LENGTH), frame_numbers(_LENGTH, gaps=True)
    before = x.copy(), numbers.copy()
    smoother(x, numbers)
    require_same(x, before[0], "x was written to")
    require_same(numbers, before[1], "frame_numbers was written to")


@CHECKS.check
def same_input_same_result(subject: Subject) -> None:
    """Clips that were smoothed before leave no trace, and another instance gives the same bits."""
    smoother = ready(subject)
    x, numbers = values(smoother, _LENGTH), frame_numbers(_LENGTH, gaps=True)
    first = smoother(x, numbers)
    smoother(values(smoother, 50, seed=3), frame_numbers(50))
    require_same(smoother(x, numbers), first, "asked twice, the result differs")
    require_same(ready(subject)(x, numbers), first, "two of the same options and seed differ")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Written as a SPEC and read again, the options build the same smoother: that is how workers get it."""
    spec = Spec.parse(subject.text)
    require(str(spec) == subject.text, f"{subject.text!r} is read as {str(spec)!r}")
    smoother = ready(subject)
    again = subject.cls(**spec.options)
    if again.fitted:
        again.fit(*training(again), 0)
    x, numbers = values(smoother, _LENGTH), frame_numbers(_LENGTH, gaps=True)
    require_same(again(x, numbers), smoother(x, numbers), f"built from {subject.text} it gives another result")


@CHECKS.check
def auto_values_can_be_used(subject: Subject) -> None:
    """Each value that ``auto`` would try builds a smoother that works."""
    if not subject.cls.auto:
        raise Skipped("no option is chosen by 'auto'")
    for option, candidates in subject.cls.auto.items():
        require(candidates, f"auto[{option!r}] has no value")
        for value in candidates:
            smoother = subject.cls(**{**subject.given(), option: value})
            if not smoother.fitted:
                smoother(values(smoother, _LENGTH), frame_numbers(_LENGTH))


_TIME_LENGTH = 24


@CHECKS.check
def gaps_in_frame_numbers(subject: Subject) -> None:
    """Frame numbers may leave gaps, short and very long ones."""
    smoother = ready(subject)
    numbers = frame_numbers(_TIME_LENGTH, gaps=True)
    smoother(values(smoother, _TIME_LENGTH), numbers)
    smoother(values(smoother, _TIME_LENGTH), np.where(np.arange(_TIME_LENGTH) < 12, numbers, numbers + 1_000_000))


@CHECKS.check
def shift_of_frame_numbers(subject: Subject) -> None:
    """Where a clip was cut out of its video does not matter: only distances between frame numbers do."""
    smoother = ready(subject)
    x, numbers = values(smoother, _TIME_LENGTH), frame_numbers(_TIME_LENGTH, gaps=True)
    for shift in (-1, 5000):
        moved = smoother(x, numbers + shift)
        require_close(moved, smoother(x, numbers), f"frame numbers moved by {shift} change the result", atol=1e-8)


@CHECKS.check
def causal_looks_at_no_later_frame(subject: Subject) -> None:
    """Where ``causal`` is True, what is cut off behind a frame does not change the frame's result."""
    smoother = _causal(subject)
    x, numbers = values(smoother, _TIME_LENGTH), frame_numbers(_TIME_LENGTH, gaps=True)
    whole = smoother(x, numbers)
    for end in range(1, _TIME_LENGTH):
        what = f"causal = True, and the first {end} frames alone are not what they are in the clip"
        require_close(smoother(x[:end], numbers[:end]), whole[:end], what, atol=1e-8)


@CHECKS.check
def frame_by_frame_is_the_clip(subject: Subject) -> None:
    """A causal smoother that gets a clip frame by frame gives what it gives the clip, and so after a reset."""
    smoother = _causal(subject)
    x, numbers = values(smoother, _TIME_LENGTH), frame_numbers(_TIME_LENGTH, gaps=True)
    whole = smoother(x, numbers)
    if not is_close(smoother(x[:12], numbers[:12]), whole[:12]):
        raise Skipped("causal_looks_at_no_later_frame fails")
    stream = smoother.stream()
    for _ in range(2):
        rows = [stream(row, int(number)) for row, number in zip(x, numbers, strict=True)]
        require_close(np.stack(rows), whole, "frame by frame, the result is not that of the clip", atol=1e-8)
        stream.reset()


@CHECKS.check
def streams_do_not_disturb_each_other(subject: Subject) -> None:
    """Two clips that come frame by frame in turn are smoothed as one after the other."""
    smoother = _causal(subject)
    clips = [(values(smoother, _TIME_LENGTH, seed), frame_numbers(_TIME_LENGTH, gaps=seed == 1)) for seed in (0, 1)]
    alone = [_streamed(smoother, *clip) for clip in clips]
    streams = [smoother.stream(), smoother.stream()]
    together: list[list[np.ndarray]] = [[], []]
    for index in range(_TIME_LENGTH):
        for kept, stream, (x, numbers) in zip(together, streams, clips, strict=True):
            kept.append(stream(x[index], int(numbers[index])))
    for kept, wanted in zip(together, alone, strict=True):
        require_close(np.stack(kept), wanted, "a stream changes another one's result", atol=1e-8)


def _causal(subject: Subject) -> Smoother:
    smoother = ready(subject)
    if not smoother.causal:
        raise Skipped("it looks at later frames")
    return smoother


def _streamed(smoother: Smoother, x: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    stream = smoother.stream()
    return np.stack([stream(row, int(number)) for row, number in zip(x, numbers, strict=True)])


_FIT_LENGTH = 24


@CHECKS.check
def fit_is_as_declared(subject: Subject) -> None:
    """Where ``fitted`` is False, ``fit`` has no influence: the kernel does not call it."""
    smoother = subject.build()
    if smoother.fitted:
        raise Skipped("it is fitted")
    before = _smoothed(smoother)
    smoother.fit(*training(smoother), 0)
    require_same(_smoothed(smoother), before, "fitted = False, and fit() changes the result")


@CHECKS.check
def fit_changes_nothing_it_is_given(subject: Subject) -> None:
    """Clips and labels are as they were before fitting."""
    smoother = _learner(subject)
    clips, labels = training(smoother)
    smoother.fit(clips, labels, 0)
    for (x, numbers), found, (old_x, old_numbers), old in zip(clips, labels, *training(smoother), strict=True):
        require_same(x, old_x, "a clip was written to")
        require_same(numbers, old_numbers, "frame numbers were written to")
        require_same(found, old, "labels were written to")


@CHECKS.check
def second_fit_forgets_the_first(subject: Subject) -> None:
    """Fitted again, it is what it would be had it been fitted once."""
    smoother = _learner(subject)
    clips, labels = training(smoother)
    smoother.fit(clips[::2], [found[::-1].copy() for found in labels[::2]], 0)
    smoother.fit(clips, labels, 0)
    require_same(_smoothed(smoother), _smoothed(ready(subject)), "an earlier fit has an influence")


@CHECKS.check
def few_clips_and_lacking_classes(subject: Subject) -> None:
    """It can be fitted on one clip, in which a class has no label and some frames have none."""
    smoother = _learner(subject)
    clips, labels = training(smoother)
    found = np.where(labels[0] == 1, 0, labels[0])
    smoother.fit(clips[:1], [found], 0)
    _smoothed(smoother)


@CHECKS.check
def state_round_trip(subject: Subject) -> None:
    """What it learned is named arrays, stored without pickle; one that takes them back gives the same bits."""
    smoother = _learner(subject)
    smoother.fit(*training(smoother), 0)
    state = smoother.state()
    if state is None:
        raise Skipped("it stores nothing: its cells cannot be applied to new frames")
    require(isinstance(state, Mapping) and state, f"state() gives {type(state).__name__} without any array")
    for name, value in state.items():
        plain = isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.ndim > 0
        require(isinstance(name, str) and plain, f"state {name!r} is not an array of numbers of one axis or more")
    other = subject.build()
    other.restore({name: value.copy() for name, value in state.items()})
    require_same(_smoothed(other), _smoothed(smoother), "one that was restored gives another result")


def _learner(subject: Subject) -> Smoother:
    smoother: Smoother = subject.build()
    if not smoother.fitted:
        raise Skipped("it is not fitted")
    return smoother


def _smoothed(smoother: Smoother) -> np.ndarray:
    return smoother(values(smoother, _FIT_LENGTH), frame_numbers(_FIT_LENGTH, gaps=True))
