"""Checks of fusions that are fitted in one go, with scikit-learn's manners."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fusionkit.contracts.fusion import FittedFusion
from fusionkit.registry.spec import Spec
from fusionkit.testing.case import Skipped, Subject, Suite, require, require_close, require_finite, require_same

CHECKS = Suite()
_CLASSES, _ROWS, _UNITS = 3, 60, 12
_STANDARD = {"face": 4, "eye": 4, "mouth": 4}


@CHECKS.gate
def fits_and_predicts(subject: Subject) -> None:
    """It is built for three views of one width, fitted, and predicts."""
    _predicted(_fitted(subject))


@CHECKS.check
def one_view(subject: Subject) -> None:
    """It works on the main view alone: the reference row of a grid may be it."""
    _predicted(_fitted(subject, {"face": 4}))


@CHECKS.check
def views_of_different_widths(subject: Subject) -> None:
    """It works on views of different widths: another backbone may embed each."""
    _predicted(_fitted(subject, {"face": 5, "eye": 3}))


@CHECKS.check
def twelve_views(subject: Subject) -> None:
    """It works on many views."""
    _predicted(_fitted(subject, {f"view{number}": 3 for number in range(12)}))


@CHECKS.check
def rows_are_probabilities(subject: Subject) -> None:
    """What it predicts is (N, C), finite, from 0 up, and each row sums to one."""
    probs = _predicted(_fitted(subject))
    require(probs.shape == (_ROWS, _CLASSES), f"probabilities are {probs.shape}, not {(_ROWS, _CLASSES)}")
    require_finite(probs, "probabilities")
    require((probs >= 0).all(), "there is a negative probability")
    require_close(probs.sum(1), np.ones(_ROWS), "a row does not sum to one")


@CHECKS.check
def class_without_frames(subject: Subject) -> None:
    """A class that the training frames lack keeps its column: a fold may lack it."""
    model = _built(subject)
    views, y, groups = _training()
    model.fit(views, np.where(y == 1, 0, y), groups, 0)
    probs = _predicted(model)
    require(probs.shape == (_ROWS, _CLASSES), f"fitted without class 1, probabilities are {probs.shape}")
    require_finite(probs, "probabilities")


@CHECKS.check
def input_is_not_changed(subject: Subject) -> None:
    """Views, labels and groups are as they were before fitting and predicting."""
    views, y, groups = _training()
    before = {**{name: value.copy() for name, value in views.items()}, "y": y.copy(), "groups": groups.copy()}
    model = _built(subject)
    model.fit(views, y, groups, 0)
    model.predict_proba(views)
    for name, value in before.items():
        require_same({**views, "y": y, "groups": groups}[name], value, f"{name} was written to")


@CHECKS.check
def same_seed_same_probabilities(subject: Subject) -> None:
    """Two that are fitted on the same with the same seed predict the same bits."""
    require_same(_predicted(_fitted(subject)), _predicted(_fitted(subject)), "the same seed gives other probabilities")


@CHECKS.check
def second_fit_forgets_the_first(subject: Subject) -> None:
    """Fitted again, it is what it would be had it been fitted once."""
    _require_seeded(subject)
    views, y, groups = _training()
    model = _built(subject)
    model.fit({name: value[::-1].copy() for name, value in views.items()}, y, groups, 0)
    model.fit(views, y, groups, 0)
    require_same(_predicted(model), _predicted(_fitted(subject)), "an earlier fit has an influence")


@CHECKS.check
def row_alone_is_row_in_batch(subject: Subject) -> None:
    """A frame's probabilities do not depend on the other frames."""
    model = _fitted(subject)
    views, whole = _training()[0], _predicted(model)
    for row in range(5):
        alone = model.predict_proba({name: value[row : row + 1] for name, value in views.items()})
        require_close(alone, whole[row : row + 1], f"row {row} alone is not what it is in a batch")


@CHECKS.check
def order_of_given_views(subject: Subject) -> None:
    """Views are known by name: in which order they are handed over changes nothing."""
    _require_seeded(subject)
    views, y, groups = _training()
    model = _built(subject)
    model.fit(dict(reversed(views.items())), y, groups, 0)
    turned = model.predict_proba(dict(reversed(views.items())))
    require_close(turned, _predicted(_fitted(subject)), "the order of the views given matters")


@CHECKS.check
def every_view_is_read(subject: Subject) -> None:
    """No view is left out: other content gives other probabilities."""
    model = _fitted(subject)
    views, whole = _training()[0], _predicted(model)
    for name in views:
        moved = model.predict_proba({**views, name: np.flip(views[name], 0) * 3})
        require(not np.array_equal(moved, whole), f"view {name} has no influence")


@CHECKS.check
def state_round_trip(subject: Subject) -> None:
    """What it learned is named arrays; one that takes them predicts the same bits. A head is stored without pickle."""
    model = _fitted(subject)
    state = model.state()
    require(isinstance(state, Mapping) and state, f"state() gives {type(state).__name__} without any array")
    for name, value in state.items():
        plain = isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.ndim > 0
        require(isinstance(name, str) and plain, f"state {name!r} is not an array of numbers of one axis or more")
    other = _built(subject)
    other.restore({name: value.copy() for name, value in state.items()})
    require_same(_predicted(other), _predicted(model), "one that was restored predicts otherwise")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Written as a SPEC and read again, the options build the same: that is how workers get it."""
    _require_seeded(subject)
    spec = Spec.parse(subject.text)
    require(str(spec) == subject.text, f"{subject.text!r} is read as {str(spec)!r}")
    again = subject.cls(in_dims=dict(_STANDARD), num_classes=_CLASSES, **spec.options)
    again.fit(*_training(), 0)
    require_same(_predicted(again), _predicted(_fitted(subject)), f"built from {subject.text} it predicts otherwise")


def _require_seeded(subject: Subject) -> None:
    if not np.array_equal(_predicted(_fitted(subject)), _predicted(_fitted(subject)), equal_nan=True):
        raise Skipped("same_seed_same_probabilities fails")


def _built(subject: Subject, dims: dict[str, int] | None = None) -> FittedFusion:
    model: FittedFusion = subject.build(in_dims=dict(dims or _STANDARD), num_classes=_CLASSES)
    return model


def _fitted(subject: Subject, dims: dict[str, int] | None = None) -> FittedFusion:
    model = _built(subject, dims)
    model.fit(*_training(model.in_dims), 0)
    return model


def _predicted(model: FittedFusion) -> np.ndarray:
    return np.asarray(model.predict_proba(_training(model.in_dims)[0]))


def _training(dims: dict[str, int] | None = None) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Views, labels and units of frames that can be told apart to some degree."""
    rng = np.random.default_rng(4)
    y = np.arange(_ROWS) % _CLASSES
    views = {}
    for name, width in (dims or _STANDARD).items():
        centres = rng.normal(size=(_CLASSES, width))
        views[name] = (centres[y] + rng.normal(size=(_ROWS, width))).astype(np.float32)
    return views, y.astype(np.int64), np.array([f"unit{row // (_ROWS // _UNITS)}" for row in range(_ROWS)])
