"""Checks of tasks: counts that add up, truth apart from predictions, a loss and a metric that want the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from fusionkit.contracts.task import LossOptions, Task
from fusionkit.testing.case import (
    Skipped,
    Subject,
    Suite,
    described,
    require,
    require_close,
    require_finite,
    require_same,
)
from fusionkit.testing.random_state import require_no_global_seed

CHECKS = Suite()
_NAMES = ("first", "second", "third")
_FRAMES, _UNITS = 60, 4
_UNKNOWN = np.float32(np.nan)


@CHECKS.gate
def builds_and_runs(subject: Subject) -> None:
    """It is built for some names, takes labels, and gives a metric of predictions."""
    task = _built(subject)
    counts = _counts(task)
    right = isinstance(counts, np.ndarray) and counts.dtype in (np.int64, np.float64) and len(counts) == _UNITS
    require(right, f"counts(): expected int64 or float64 ({_UNITS}, ...), found {described(counts)}")
    metric = task.metric(counts.sum(0))
    require(np.shape(metric) == () and np.isfinite(metric), f"metric(): expected a finite number, found {metric!r}")


@CHECKS.root
def input_is_not_changed(subject: Subject) -> None:
    """Labels, outputs, predictions and counts are unchanged after the calls."""
    task = _built(subject)
    values, outputs = _labels(task), _outputs(task)
    predictions, unit = _predictions(task, outputs), _unit()
    counts = task.counts(values, predictions, unit, _UNITS)
    given = {"values": values, "outputs": outputs, "predictions": predictions, "unit": unit, "counts": counts}
    before = {name: array.copy() for name, array in given.items()}
    _call_all(task, values, outputs, predictions, counts)
    for name, array in given.items():
        require_same(array, before[name], f"a method changes {name}")


@CHECKS.root
def same_input_same_result(subject: Subject) -> None:
    """A second call and a second instance give the same bits."""
    task, other = _built(subject), _built(subject)
    first = _counts(task)
    _counts(task, seed=1)
    for again in (_counts(task), _counts(other)):
        require_same(again, first, "counts(): a second call or instance differs")
    require_same(other.scores(first), task.scores(first), "scores(): a second instance differs")


@CHECKS.check
def global_seed_is_not_set(subject: Subject) -> None:
    """It does not set the seed of a global random generator."""

    def run() -> None:
        task = _built(subject)
        values, outputs = _labels(task), _outputs(task)
        _call_all(task, values, outputs, _predictions(task, outputs), _counts(task))
        _loss(task, LossOptions())

    require_no_global_seed(run, "a method")


@CHECKS.check
def names_and_range(subject: Subject) -> None:
    """``names`` are those it was built with, other names are text, and ``least`` is 0 or -1."""
    task = _built(subject)
    require(task.names == _NAMES, f"names: expected {_NAMES}, found {task.names!r}")
    for attribute in ("part", "score", "metric_name"):
        found = getattr(task, attribute)
        require(isinstance(found, str) and found.strip(), f"{attribute}: expected text, found {found!r}")
    require(task.least in (0, -1), f"least: expected 0 or -1, found {task.least!r}")


@CHECKS.check
def wrong_labels_are_refused(subject: Subject) -> None:
    """``problem`` names the row of a label that is out of range, and refuses labels of another shape."""
    task = _built(subject)
    values = _labels(task)
    accepted = []
    for wrong in (-7.0, 1e9, np.inf) if values.ndim == 2 else (-7, len(task.names), 10**9):
        changed = values.copy()
        changed[11] = wrong
        message = task.problem(changed)
        require(isinstance(message, str), f"problem(): expected text, found {described(message)}")
        if not message:
            accepted.append(wrong)
        require("11" in message or not message, f"problem(): expected the row, 11, in {message!r}")
    # A count of votes has no greatest value.
    require(
        accepted in ([], [1e9]), f"problem(): expected a message for labels {', '.join(f'{x:g}' for x in accepted)}"
    )
    shapes = [values[:, :-1], values[:, 0]] if values.ndim == 2 else [np.stack([values] * len(task.names), 1)]
    for other in shapes:
        require(task.problem(other), f"problem(): expected a message for labels of shape {other.shape}")


@CHECKS.root
def strata_are_of_labelled_frames(subject: Subject) -> None:
    """``strata`` gives an int64 >= 0 for each frame with a label, and -1 for the others."""
    task = _built(subject)
    values = _labels(task, frames_without=True)
    unknown = (values < 0) if values.ndim == 1 else np.isnan(values).all(1)
    strata = task.strata(values)
    right = isinstance(strata, np.ndarray) and strata.dtype == np.int64 and strata.shape == (_FRAMES,)
    require(right, f"strata(): expected int64 ({_FRAMES},), found {described(strata)}")
    require_same(strata == -1, unknown, "strata(): expected -1 for frames without any label, and only for them")
    require((strata >= -1).all(), f"strata(): expected values of at least -1, found {strata.min()}")


@CHECKS.root
def distributions_are_joined(subject: Subject) -> None:
    """Outputs become logits (n, C) of one or more distributions, and their probabilities predictions (n, O)."""
    task = _built(subject)
    outputs = _outputs(task)
    logits = task.distributions(outputs)
    require(
        isinstance(logits, list) and logits, f"distributions(): expected a list of arrays, found {described(logits)}"
    )
    for index, each in enumerate(logits):
        right = each.ndim == 2 and len(each) == _FRAMES and each.shape[1] > 1
        require(
            right, f"distributions(): expected ({_FRAMES}, C) with C > 1 as number {index}, found {described(each)}"
        )
        require_finite(each, f"distributions(): number {index}")
    found = task.joined([_softmax(each) for each in logits])
    right = found.shape == (_FRAMES, task.outputs) and found.dtype == np.float64
    require(right, f"joined(): expected float64 ({_FRAMES}, {task.outputs}), found {described(found)}")
    require_finite(found, "joined()")
    few = _predictions(task, outputs[5:8])
    require_close(few, found[5:8], "distributions() or joined(): a frame depends on other frames")
    if task.exclusive:
        shapes = [each.shape[1] for each in logits]
        require(shapes == [len(task.names)], f"exclusive: expected one distribution over the names, found {shapes}")
        require_close(found, _softmax(outputs), "exclusive: expected the probabilities of the names as predictions")


@CHECKS.root
def counts_add_up(subject: Subject) -> None:
    """Counts of all frames are the sum over units, and over parts of the frames; units without frame have none."""
    task = _built(subject)
    values, predictions, unit = _labels(task), _predictions(task, _outputs(task)), _unit()
    counts = _counts(task)
    whole = task.counts(values, predictions, np.zeros(_FRAMES, np.int64), 1)
    require_close(counts.sum(0), whole[0], "counts(): the sum over units differs from the counts of all frames")
    parts = [np.arange(20), np.arange(20, 20), np.arange(20, _FRAMES)]
    found = sum(task.counts(values[rows], predictions[rows], unit[rows], _UNITS) for rows in parts)
    require_close(found, counts, "counts(): counts of parts of the frames do not add up")
    empty = task.counts(values, predictions, unit, _UNITS + 1)
    require(empty.shape[0] == _UNITS + 1 and not empty[-1].any(), "counts(): expected zeros for a unit without frames")


@CHECKS.check
def order_of_frames_has_no_effect(subject: Subject) -> None:
    """Counts do not depend on the order of the frames."""
    task = _built(subject)
    values, predictions, unit = _labels(task), _predictions(task, _outputs(task)), _unit()
    order = np.random.default_rng(2).permutation(_FRAMES)
    found = task.counts(values[order], predictions[order], unit[order], _UNITS)
    require_close(found, _counts(task), "counts(): the order of the frames changes them")


@CHECKS.check
def entries_without_label_have_no_effect(subject: Subject) -> None:
    """Outputs for an entry without label change neither counts nor loss."""
    task = _built(subject)
    values, outputs = _labels(task), _outputs(task)
    unknown = np.isnan(values) if values.ndim == 2 else np.zeros((_FRAMES, task.outputs), bool)
    if unknown.shape != outputs.shape or not unknown.any():
        raise Skipped("its frames have all labels or none")
    changed = np.where(unknown, outputs + 3, outputs)
    found = task.counts(values, _predictions(task, changed), _unit(), _UNITS)
    require_same(found, _counts(task), "counts(): a prediction without label changes them")
    require_close(
        _loss(task, LossOptions(), changed), _loss(task, LossOptions()), "criterion(): an output without label counts"
    )


@CHECKS.root
def truth_depends_on_labels_alone(subject: Subject) -> None:
    """``truth`` and ``support`` are equal for all predictions, differ for other labels, and are 0 without a frame."""
    task = _built(subject)
    counts, other = _counts(task), _counts(task, seed=1)
    require_same(task.truth(other), task.truth(counts), "truth(): other predictions change it")
    require_same(task.support(other), task.support(counts), "support(): other predictions change it")
    values = _labels(task)
    swapped = task.counts(values[::-1].copy(), _predictions(task, _outputs(task)), _unit(), _UNITS)
    require(not np.array_equal(task.truth(swapped), task.truth(counts)), "truth(): equal for other labels of the units")
    require(not task.truth(np.zeros_like(counts)).any(), "truth(): expected 0 without a labelled frame")
    require(task.truth(counts).any(-1).all(), "truth(): expected a value other than 0 for a unit with labelled frames")


@CHECKS.check
def counts_have_leading_axes(subject: Subject) -> None:
    """Scores, support, truth and measures of many counts are those of each."""
    task = _built(subject)
    counts = np.stack([_counts(task, seed) for seed in range(3)])
    calls: dict[str, Callable[[np.ndarray], Any]] = {
        "scores": task.scores,
        "support": task.support,
        "truth": task.truth,
        "metric": task.metric,
        "predicted": task.predicted,
        "confusion": task.confusion,
    }
    for name in task.measures(counts):
        calls[f"measures()[{name!r}]"] = partial(_measure, task, name)
    for name, call in calls.items():
        if call(counts) is None:
            continue
        each = np.stack([np.stack([call(unit) for unit in seed]) for seed in counts])
        require_same(call(counts), each, f"{name}: of counts (3, {_UNITS}, ...) differs from those one by one")
    parts = (3, _UNITS, len(task.names))
    for name in ("scores", "support"):
        shape = np.shape(calls[name](counts))
        require(shape == parts, f"{name}(): expected one for each name, {parts}, found {shape}")


@CHECKS.check
def score_is_in_range(subject: Subject) -> None:
    """Scores are between ``least`` and 1, or NaN, which they are without a frame."""
    task = _built(subject)
    for seed in range(20):
        counts = _counts(task, seed)
        for name, found in (("scores", task.scores(counts)), ("metric", task.metric(counts))):
            known = found[~np.isnan(found)]
            outside = known[(known < task.least) | (known > 1)]
            require(not len(outside), f"{name}(): expected {task.least:g}..1, found {outside[:1]}")
    nothing = task.scores(np.zeros_like(counts[0]))
    require(np.isnan(nothing).all(), f"scores(): expected NaN without a frame, found {nothing}")


@CHECKS.root
def perfect_predictions_have_1(subject: Subject) -> None:
    """Predictions that equal the labels have a metric of 1."""
    task = _built(subject)
    values = _labels(task)
    perfect = np.eye(len(task.names))[task.hard_labels(values)] if task.exclusive else np.nan_to_num(values)
    if perfect.shape != (_FRAMES, task.outputs):
        raise Skipped("its labels have another shape than its predictions")
    found = task.metric(task.counts(values, perfect.astype(np.float64), _unit(), _UNITS).sum(0))
    require_close(found, 1.0, "metric(): expected 1 for perfect predictions")


@CHECKS.check
def constant_is_the_best_constant(subject: Subject) -> None:
    """``constant`` gives counts of the same frames, and no prediction that is equal for all frames scores more."""
    task = _built(subject)
    values, counts = _labels(task), _counts(task)
    constant = task.constant(counts)
    require_close(task.truth(constant), task.truth(counts), "constant(): its counts are of other frames")
    best = float(task.metric(constant.sum(0)))
    rng = np.random.default_rng(0)
    for outputs in [*(20 * np.eye(task.outputs)), *rng.normal(0, 2, (30, task.outputs))]:
        predictions = _predictions(task, np.repeat([outputs], _FRAMES, 0))
        found = float(task.metric(task.counts(values, predictions, _unit(), _UNITS).sum(0)))
        require(found <= best + 1e-6, f"constant(): scores {best:.4g}, another constant prediction {found:.4g}")


@CHECKS.check
def prior_is_a_prediction(subject: Subject) -> None:
    """``prior`` gives one prediction (O,) in float64, also if some part has no label."""
    task = _built(subject)
    values = _labels(task)
    partly = (
        np.where(np.arange(len(task.names)) == 1, values.dtype.type(np.nan), values) if values.ndim == 2 else values
    )
    for labels in (values, values if task.exclusive else partly):
        prior = task.prior(labels)
        right = isinstance(prior, np.ndarray) and prior.shape == (task.outputs,) and prior.dtype == np.float64
        require(right, f"prior(): expected float64 ({task.outputs},), found {described(prior)}")
        require_finite(prior, "prior()")
    if task.exclusive:
        require_close(task.prior(values).sum(), 1.0, "prior(): expected probabilities that sum to 1")


@CHECKS.check
def words_of_each_frame(subject: Subject) -> None:
    """``words`` gives a text for each frame, which depends on its prediction."""
    task = _built(subject)
    found = task.words(_predictions(task, 3 * _outputs(task)))
    right = isinstance(found, np.ndarray) and found.shape == (_FRAMES,) and found.dtype.kind == "U"
    require(right, f"words(): expected str ({_FRAMES},), found {described(found)}")
    require(len(set(found.tolist())) > 1, f"words(): expected different words, found {found[0]!r} for all frames")


@CHECKS.check
def class_labels_fit_the_distributions(subject: Subject) -> None:
    """A ``discrete`` task gives each distribution one label per frame, -1 if it is unlabelled."""
    task = _built(subject)
    if not task.discrete:
        raise Skipped("the classes of its distributions have no labels")
    logits, labels = task.distributions(_outputs(task)), task.class_labels(_labels(task, frames_without=True))
    require(len(labels) == len(logits), f"class_labels(): expected {len(logits)} arrays, found {len(labels)}")
    for found, each in zip(labels, logits, strict=True):
        right = found.shape == (_FRAMES,) and found.dtype == np.int64
        require(right, f"class_labels(): expected int64 ({_FRAMES},), found {described(found)}")
        inside = ((found >= -1) & (found < each.shape[1])).all()
        require(inside, f"class_labels(): expected -1..{each.shape[1] - 1}, found {found.min()}..{found.max()}")
        require((found == -1).any() and (found >= 0).any(), "class_labels(): expected -1 exactly without a label")


@CHECKS.root
def loss_is_a_number_with_finite_gradients(subject: Subject) -> None:
    """The loss is a finite scalar with finite gradients, for outputs of any size and a batch of one frame."""
    import torch

    task = _built(subject)
    target = torch.from_numpy(_labels(task))
    for options in _options(task):
        criterion = task.criterion(target, options)
        for scale, rows in ((0.0, 60), (1.0, 60), (1.0, 1), (1e4, 60)):
            outputs = torch.from_numpy(scale * _outputs(task)[:rows]).float().requires_grad_()
            loss = criterion(outputs, target[:rows])
            what = f"criterion(): with {options}, outputs of about {scale:g} and {rows} frames"
            require(loss.ndim == 0, f"{what}: expected a scalar, found {described(loss)}")
            require_finite(loss, what)
            (gradient,) = torch.autograd.grad(loss, outputs)
            require_finite(gradient, f"{what}: gradient")


@CHECKS.check
def loss_leads_to_the_metric(subject: Subject) -> None:
    """Outputs that are trained with the loss get a better metric than any constant prediction."""
    import torch

    task = _built(subject)
    values, counts = _labels(task), _counts(task)
    target = torch.from_numpy(values)
    outputs, criterion = 0.1 * torch.from_numpy(_outputs(task)).float(), task.criterion(target, LossOptions())
    for _ in range(100):
        outputs.requires_grad_()
        (gradient,) = torch.autograd.grad(criterion(outputs, target), outputs)
        outputs = outputs.detach() - 0.1 * gradient.sign()
    predictions = _predictions(task, outputs.double().numpy())
    found = float(task.metric(task.counts(values, predictions, _unit(), _UNITS).sum(0)))
    bar = float(task.metric(task.constant(counts).sum(0)))
    require(
        found > (1 + bar) / 2,
        f"criterion(): after 100 steps on the outputs themselves the metric is {found:.3g}, a constant has {bar:.3g}",
    )


@CHECKS.check
def options_of_the_loss_are_as_declared(subject: Subject) -> None:
    """Each option in ``loss_options`` changes the loss, and no other does."""
    task = _built(subject)
    known = LossOptions.__dataclass_fields__
    unknown = sorted(task.loss_options - known.keys())
    require(not unknown, f"loss_options: unknown {', '.join(unknown)}; known: {', '.join(known)}")
    focal = {"loss": "focal"} if "loss" in task.loss_options else {}
    changes: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "loss": ({}, {"loss": "focal"}),
        "class_weights": ({}, {"class_weights": "balanced"}),
        "focal_gamma": (focal, {**focal, "focal_gamma": 1.0}),
        "label_smoothing": ({}, {"label_smoothing": 0.3}),
        "logit_adjustment": ({}, {"logit_adjustment": 1.0}),
    }
    for name, (before, after) in changes.items():
        changed = abs(_loss(task, LossOptions(**before)) - _loss(task, LossOptions(**after))) > 1e-6
        declared = name in task.loss_options
        require(
            changed == declared,
            f"loss_options: {name} is {'' if declared else 'not '}in it, but "
            f"{'changes' if changed else 'does not change'} the loss",
        )


@CHECKS.check
def further_measures(subject: Subject) -> None:
    """``measures`` and ``diagnostics`` have numbers by name, and ``ceiling`` words and a number, or None."""
    task = _built(subject)
    values, counts = _labels(task), _counts(task)
    predictions = _predictions(task, _outputs(task))
    for what, found in (
        ("measures", task.measures(counts.sum(0))),
        ("diagnostics", task.diagnostics(values, predictions)),
    ):
        right = all(isinstance(name, str) and np.shape(value) == () for name, value in found.items())
        require(right, f"{what}(): expected numbers by name, found {found!r:.80}")
    limit = task.ceiling(values)
    if limit is None:
        return
    words, value = limit
    require(
        isinstance(words, str) and task.least <= value <= 1, f"ceiling(): expected text and a number, found {limit!r}"
    )


@CHECKS.check
def spec_round_trip(subject: Subject) -> None:
    """Options written as a SPEC and parsed again build the same task; workers get it that way."""
    task, again = _built(subject), subject.build_from_text(names=_NAMES)
    require_same(_counts(again), _counts(task), f"built from {subject.text}: counts differ")
    require_same(
        _loss(again, LossOptions()), _loss(task, LossOptions()), f"built from {subject.text}: the loss differs"
    )


def _built(subject: Subject) -> Task:
    task: Task = subject.build(names=_NAMES)
    return task


def _unit() -> np.ndarray:
    """Return the unit of each frame; all units have several."""
    return np.arange(_FRAMES, dtype=np.int64) * 7 % _UNITS


def _labels(task: Task, *, frames_without: bool = False) -> np.ndarray:
    """Return labels of the first kind that the task accepts; every frame has one, unless ``frames_without`` is set.

    Raises:
        CheckFailed: if it accepts none.
    """
    refused = []
    for values in _kinds_of_labels(len(task.names)):
        message = task.problem(values)
        if not message:
            if frames_without:
                values[::7] = -1 if values.ndim == 1 else _UNKNOWN
            return values
        refused.append(message)
    require(condition=False, message=f"problem(): expected some labels to be accepted, found: {'; '.join(refused)}")
    raise AssertionError


def _kinds_of_labels(count: int) -> Iterator[np.ndarray]:
    """Yield labels (N, ...): one class, votes, numbers in -1..1, in 0..1, shares, and 0 or 1."""
    rng = np.random.default_rng(4)
    yield np.concatenate([np.arange(count), rng.choice(count, _FRAMES - count, p=_skewed(count))]).astype(np.int64)
    yield (rng.integers(0, 9, (_FRAMES, count)) + np.eye(count)[np.arange(_FRAMES) % count]).astype(np.float32)
    missing = rng.random((_FRAMES, count)) < 0.2
    missing[np.arange(_FRAMES), np.arange(_FRAMES) % count] = False
    yield np.where(missing, _UNKNOWN, rng.uniform(-1, 1, (_FRAMES, count)).astype(np.float32))
    yield np.where(missing, _UNKNOWN, rng.random((_FRAMES, count)).astype(np.float32))
    yield rng.dirichlet(np.ones(count), _FRAMES).astype(np.float32)
    yield np.where(missing, _UNKNOWN, (rng.random((_FRAMES, count)) < _skewed(count)).astype(np.float32))


def _skewed(count: int) -> np.ndarray:
    share = 1.0 / np.arange(1, count + 1)
    share /= share.sum()
    return share


def _outputs(task: Task, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(_FRAMES, task.outputs))


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    found: np.ndarray = odds / odds.sum(1, keepdims=True)
    return found


def _predictions(task: Task, outputs: np.ndarray) -> np.ndarray:
    """Return the predictions that outputs stand for."""
    return task.joined([_softmax(logits) for logits in task.distributions(outputs)])


def _counts(task: Task, seed: int = 0) -> np.ndarray:
    """Return the counts of random predictions."""
    return task.counts(_labels(task), _predictions(task, _outputs(task, seed)), _unit(), _UNITS)


def _measure(task: Task, name: str, counts: np.ndarray) -> np.ndarray:
    return task.measures(counts)[name]


def _loss(task: Task, options: LossOptions, outputs: np.ndarray | None = None) -> float:
    import torch

    target = torch.from_numpy(_labels(task))
    given = _outputs(task) if outputs is None else outputs
    return float(task.criterion(target, options)(torch.from_numpy(given).float(), target))


def _options(task: Task) -> Iterator[LossOptions]:
    """Yield options that the loss has."""
    yield LossOptions()
    for given in (
        {"loss": "focal", "focal_gamma": 0.5},
        {"class_weights": "balanced"},
        {"label_smoothing": 0.1},
        {"logit_adjustment": 1.0},
    ):
        if given.keys() <= task.loss_options:
            yield LossOptions(**given)


def _call_all(task: Task, values: np.ndarray, outputs: np.ndarray, predictions: np.ndarray, counts: np.ndarray) -> None:
    """Call every method that takes labels, outputs, predictions or counts."""
    for of_labels in (task.problem, task.strata, task.labelled, task.present, task.ceiling):
        of_labels(values)
    task.prior(values)
    task.words(predictions)
    if task.discrete:
        task.class_labels(values)
    probabilities = [_softmax(logits) for logits in task.distributions(outputs)]
    task.joined(probabilities)
    task.diagnostics(values, predictions)
    for of_counts in (task.scores, task.support, task.truth, task.constant, task.metric, task.measures, task.predicted):
        of_counts(counts)
