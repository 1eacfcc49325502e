"""Checks of fusions that are fitted as a whole, as in scikit-learn."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.fusion import FittedFusion
from fusionkit.testing.case import (
    Skipped,
    Subject,
    Suite,
    require,
    require_close,
    require_finite,
    require_same,
    require_state,
    skip_if_refused,
)
from fusionkit.testing.fusion_checks import standard_views
from fusionkit.testing.random_state import require_no_global_seed

CHECKS = Suite()
_CLASSES, _ROWS, _UNITS, _WIDTH = 3, 60, 12, 4


@CHECKS.gate
def fits_and_predicts(subject: Subject) -> None:
    """It is built for three views of one width, or as many as it takes, is fitted, and predicts."""
    _predicted(_fitted(subject))


@CHECKS.root
def input_is_not_changed(subject: Subject) -> None:
    """Views, labels and groups are unchanged after fitting and predicting."""
    model = _built(subject)
    views, y, groups = _training(model.in_dims)
    given = {**views, "y": y, "groups": groups}
    before = {name: value.copy() for name, value in given.items()}
    model.fit(views, y, groups, 0)
    model.predict_proba(views)
    for name, value in before.items():
        require_same(given[name], value, f"fit() or predict_proba(): changes {name}")


@CHECKS.root
def same_seed_same_probabilities(subject: Subject) -> None:
    """Two instances fitted on the same frames with the same seed predict the same bits."""
    what = "fit(): two instances with the same seed predict differently"
    require_same(_predicted(_fitted(subject)), _predicted(_fitted(subject)), what)


@CHECKS.root
def rows_are_probabilities(subject: Subject) -> None:
    """Predictions are (N, C), finite and >= 0, and each row sums to 1."""
    probs = _predicted(_fitted(subject))
    _require_probabilities(probs, "predict_proba()")
    require((probs >= 0).all(), f"predict_proba(): expected probabilities >= 0, found {probs.min():g}")
    require_close(probs.sum(1), np.ones(_ROWS), "predict_proba(): expected rows that sum to 1")


@CHECKS.check
def global_seed_is_not_set(subject: Subject) -> None:
    """It does not set the seed of a global random generator."""
    require_no_global_seed(lambda: _predicted(_fitted(subject)), "fit() or predict_proba()")


@CHECKS.check
def one_view(subject: Subject) -> None:
    """It works with the main view only; the reference row of a grid may have no other."""
    dims = {"face": 4}
    skip_if_refused(lambda: _built(subject, dims))
    _predicted(_fitted(subject, dims))


@CHECKS.check
def views_of_different_widths(subject: Subject) -> None:
    """It works with views of different widths, as different backbones give."""
    dims = {"face": 5, "eye": 3}
    skip_if_refused(lambda: _built(subject, dims))
    _predicted(_fitted(subject, dims))


@CHECKS.check
def twelve_views(subject: Subject) -> None:
    """It works with many views."""
    dims = {f"view{number}": 3 for number in range(12)}
    skip_if_refused(lambda: _built(subject, dims))
    _predicted(_fitted(subject, dims))


@CHECKS.check
def class_without_frames(subject: Subject) -> None:
    """A class without training frames keeps its column; a fold may lack a class."""
    model = _built(subject)
    views, y, groups = _training(model.in_dims)
    model.fit(views, np.where(y == 1, 0, y), groups, 0)
    _require_probabilities(_predicted(model), "predict_proba() after a fit without class 1")


@CHECKS.check
def second_fit_replaces_the_first(subject: Subject) -> None:
    """A second fit gives the same as a single one."""
    _skip_unless_seeded(subject)
    model = _built(subject)
    views, y, groups = _training(model.in_dims)
    model.fit({name: value[::-1].copy() for name, value in views.items()}, y, groups, 0)
    model.fit(views, y, groups, 0)
    require_same(_predicted(model), _predicted(_fitted(subject)), "fit(): an earlier fit changes the predictions")


@CHECKS.check
def row_alone_is_row_in_batch(subject: Subject) -> None:
    """The probabilities of a frame do not depend on the other frames."""
    model = _fitted(subject)
    views, whole = _training(model.in_dims)[0], _predicted(model)
    for row in range(5):
        alone = model.predict_proba({name: value[row : row + 1] for name, value in views.items()})
        what = f"predict_proba(): row {row} alone differs from that in a batch"
        require_close(alone, whole[row : row + 1], what)


@CHECKS.check
def order_of_given_views(subject: Subject) -> None:
    """Views are identified by name: their order in the dict does not matter."""
    _skip_unless_seeded(subject)
    model = _built(subject)
    views, y, groups = _training(model.in_dims)
    model.fit(dict(reversed(views.items())), y, groups, 0)
    reordered = model.predict_proba(dict(reversed(views.items())))
    what = "fit() or predict_proba(): the order of the views in the dict changes the predictions"
    require_close(reordered, _predicted(_fitted(subject)), what)


@CHECKS.check
def every_view_is_used(subject: Subject) -> None:
    """Other values in any view change the probabilities."""
    model = _fitted(subject)
    views, whole = _training(model.in_dims)[0], _predicted(model)
    for name in views:
        changed = model.predict_proba({**views, name: np.flip(views[name], 0) * 3})
        same = np.array_equal(changed, whole)
        require(not same, f"predict_proba(): expected an effect of view {name}, found none")


@CHECKS.check
def state_round_trip(subject: Subject) -> None:
    """``state`` gives named arrays, and an instance restored from them predicts the same bits."""
    model = _fitted(subject)
    other = _built(subject)
    other.restore(require_state(model.state()))
    require_same(_predicted(other), _predicted(model), "restore(): a restored instance predicts differently")


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Options written as a SPEC and parsed again build the same fusion; workers get it that way."""
    _skip_unless_seeded(subject)
    again = subject.build_from_text(in_dims=standard_views(subject.cls, _WIDTH), num_classes=_CLASSES)
    again.fit(*_training(again.in_dims), 0)
    require_same(_predicted(again), _predicted(_fitted(subject)), f"built from {subject.text}: predictions differ")


def _require_probabilities(probs: np.ndarray, what: str) -> None:
    require(probs.shape == (_ROWS, _CLASSES), f"{what}: expected shape {(_ROWS, _CLASSES)}, found {probs.shape}")
    require_finite(probs, what)


def _skip_unless_seeded(subject: Subject) -> None:
    if not np.array_equal(_predicted(_fitted(subject)), _predicted(_fitted(subject)), equal_nan=True):
        raise Skipped("same_seed_same_probabilities fails")


def _built(subject: Subject, dims: dict[str, int] | None = None) -> FittedFusion:
    model: FittedFusion = subject.build(in_dims=dims or standard_views(subject.cls, _WIDTH), num_classes=_CLASSES)
    return model


def _fitted(subject: Subject, dims: dict[str, int] | None = None) -> FittedFusion:
    model = _built(subject, dims)
    model.fit(*_training(model.in_dims), 0)
    return model


def _predicted(model: FittedFusion) -> np.ndarray:
    return np.asarray(model.predict_proba(_training(model.in_dims)[0]))


def _training(dims: dict[str, int]) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return views, labels and units of frames whose classes are partly separable."""
    rng = np.random.default_rng(4)
    y = np.arange(_ROWS) % _CLASSES
    views = {}
    for name, width in dims.items():
        centres = rng.normal(size=(_CLASSES, width))
        views[name] = (centres[y] + rng.normal(size=(_ROWS, width))).astype(np.float32)
    return views, y.astype(np.int64), np.array([f"unit{row // (_ROWS // _UNITS)}" for row in range(_ROWS)])
