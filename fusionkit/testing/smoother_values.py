"""Checks of smoothers: probabilities in, probabilities out, the same each time."""

from __future__ import annotations

import numpy as np

from fusionkit.spec import Spec
from fusionkit.testing.check import Skipped, Suite, require
from fusionkit.testing.comparison import require_close, require_same
from fusionkit.testing.smoother_clips import CLASSES, frame_numbers, ready, training, values
from fusionkit.testing.subject import Subject

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
