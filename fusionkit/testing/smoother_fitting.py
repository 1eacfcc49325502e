"""Checks of smoothers that learn: from what they are given, once, and to be stored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fusionkit.contracts.smoother import Smoother
from fusionkit.testing.check import Skipped, Suite, require
from fusionkit.testing.comparison import require_same
from fusionkit.testing.smoother_clips import frame_numbers, ready, training, values
from fusionkit.testing.subject import Subject

CHECKS = Suite()
_LENGTH = 24


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
    return smoother(values(smoother, _LENGTH), frame_numbers(_LENGTH, gaps=True))
