"""What holds for each task: counts add up, truth does not depend on predictions, losses have finite gradients."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch

from fusionkit.contracts import LossOptions, Task
from fusionkit_tasks.action_units import ActionUnits
from fusionkit_tasks.expression import Expression
from fusionkit_tasks.valence_arousal import ValenceArousal
from fusionkit_tasks.votes import Votes

NAMES = ("a", "b", "c")
COUNT, UNITS = 90, 4
OPTIONS = [
    LossOptions(loss, weights, gamma, smoothing)
    for loss, weights, gamma, smoothing in product(
        ("cross-entropy", "focal"), ("none", "balanced"), (0.0, 0.5, 2.0), (0.0, 0.1)
    )
]


@dataclass(frozen=True, eq=False)
class Example:
    """A task with labels, some of them missing, outputs, and units of the frames."""

    task: Task
    values: np.ndarray
    outputs: np.ndarray
    unit: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        return predictions_of(self.task, self.outputs)

    @property
    def counts(self) -> np.ndarray:
        return self.task.counts(self.values, self.predictions, self.unit, UNITS)


def predictions_of(task: Task, outputs: np.ndarray) -> np.ndarray:
    found = []
    for logits in task.distributions(outputs):
        odds = np.exp(logits - logits.max(1, keepdims=True))
        found.append(odds / odds.sum(1, keepdims=True))
    return task.joined(found)


def labels_of(task: Task, rng: np.random.Generator) -> np.ndarray:
    if isinstance(task, Expression):
        return np.where(rng.random(COUNT) < 0.1, -1, rng.integers(0, 3, COUNT))
    if isinstance(task, Votes):
        votes = rng.integers(0, 8, (COUNT, 3)).astype(np.float32) + np.float32([1, 0, 0])
        votes[rng.random(COUNT) < 0.1] = np.nan
        return votes
    values = rng.random((COUNT, 3)) < 0.3 if isinstance(task, ActionUnits) else rng.uniform(-1, 1, (COUNT, 3))
    return np.where(rng.random((COUNT, 3)) < 0.3, np.float32(np.nan), values.astype(np.float32))


@pytest.fixture(params=[Expression, Votes, ActionUnits, ValenceArousal], ids=lambda cls: cls.__name__)
def example(request: pytest.FixtureRequest) -> Example:
    rng = np.random.default_rng(0)
    task = request.param(NAMES)
    values = labels_of(task, rng)
    assert task.problem(values) == ""
    return Example(task, values, rng.normal(size=(COUNT, task.outputs)), rng.integers(0, UNITS, COUNT))


def test_counts_add_up_over_units_and_parts_of_the_frames(example: Example) -> None:
    task, values, predictions = example.task, example.values, example.predictions
    whole = task.counts(values, predictions, np.zeros(COUNT, np.int64), 1)
    np.testing.assert_allclose(example.counts.sum(0), whole[0], rtol=1e-12)
    parts = [
        task.counts(values[rows], predictions[rows], example.unit[rows], UNITS)
        for rows in (np.arange(30), np.arange(30, 30), np.arange(30, COUNT))
    ]
    np.testing.assert_allclose(sum(parts), example.counts, rtol=1e-12)


def test_truth_is_the_same_for_all_predictions(example: Example) -> None:
    task = example.task
    other = task.counts(example.values, predictions_of(task, -example.outputs), example.unit, UNITS)
    assert (other != example.counts).any()
    np.testing.assert_array_equal(task.truth(other), task.truth(example.counts))
    np.testing.assert_allclose(task.truth(task.constant(other)), task.truth(other))
    np.testing.assert_array_equal(task.support(other), task.support(example.counts))


def test_frames_and_entries_without_label_have_no_effect(example: Example) -> None:
    task, values, predictions = example.task, example.values, example.predictions
    unknown = values == -1 if values.ndim == 1 else np.isnan(values)
    other = np.where(unknown if values.ndim == 2 else unknown[:, None], 1 - predictions, predictions)
    if not task.exclusive:
        np.testing.assert_array_equal(task.counts(values, other, example.unit, UNITS), example.counts)
    rows = task.labelled(values)
    assert 0 < rows.sum() < COUNT
    kept = task.counts(values[rows], predictions[rows], example.unit[rows], UNITS)
    np.testing.assert_array_equal(kept, example.counts)
    units, counts = task.unit_counts(
        values[rows], predictions[rows], np.array(["u", "x", "y", "z"])[example.unit[rows]]
    )
    assert units.tolist() == ["u", "x", "y", "z"]
    np.testing.assert_array_equal(counts, kept)
    assert task.dev_metric(values, predictions) == pytest.approx(float(task.metric(kept.sum(0))))


def test_no_frame_gives_no_score(example: Example) -> None:
    task = example.task
    counts = task.counts(example.values[:0], example.predictions[:0], example.unit[:0], 2)
    assert counts.shape == (2, *example.counts.shape[1:])
    assert not counts.any()
    assert not task.truth(counts).any()
    assert np.isnan(task.scores(counts)).all()
    assert np.isnan(task.metric(counts)).all()
    assert all(np.isnan(value).all() for value in task.measures(counts).values())
    assert np.isnan(task.dev_metric(example.values[:0], example.predictions[:0]))
    assert task.absent(example.values[:0]) == list(NAMES)
    assert task.ceiling(example.values[:0]) is None


def test_the_metric_of_many_counts_is_that_of_each(example: Example) -> None:
    task = example.task
    many = np.stack([example.counts, example.counts[::-1]])
    np.testing.assert_array_equal(task.metric(many), [[task.metric(each) for each in row] for row in many])
    for name, value in task.measures(many).items():
        np.testing.assert_array_equal(value, [[task.measures(each)[name] for each in row] for row in many])
    scores, there = task.scores(example.counts.sum(0)), np.array([True, False, True])
    assert float(task.metric(example.counts.sum(0), there)) == pytest.approx(scores[[0, 2]].mean())


def test_the_prior_is_the_mean_label() -> None:
    nan = float("nan")
    values = np.array([[1, 0, nan], [0, 0, nan], [1, nan, nan]], np.float32)
    np.testing.assert_allclose(ActionUnits(NAMES).prior(values), [2 / 3, 0, 0])
    np.testing.assert_allclose(ValenceArousal(NAMES).prior(values / 2), [1 / 3, 0, 0])
    np.testing.assert_allclose(Expression(NAMES).prior(np.array([0, 2, 2, -1, 0])), [0.5, 0, 0.5])
    np.testing.assert_allclose(Votes(NAMES).prior(np.array([[3.0, 1, 0], [0, 0, 1], [0, 2, 5]])), [1 / 3, 0, 2 / 3])


def test_predictions_in_words() -> None:
    predictions = np.array([[0.2, 0.7, 0.1], [0.6, 0.1, 0.9], [0.1, 0.0, 0.4]])
    assert Expression(NAMES).words(predictions).tolist() == ["b", "c", "c"]
    assert ActionUnits(NAMES).words(predictions).tolist() == ["b", "a+c", "none"]
    assert ValenceArousal(NAMES).words(-predictions)[0] == "a -0.20 b -0.70 c -0.10"
    for task in (Expression(NAMES), ActionUnits(NAMES), ValenceArousal(NAMES)):
        assert task.words(predictions[:0]).shape == (0,)


def batch(example: Example) -> tuple[torch.Tensor, torch.Tensor]:
    rows = example.task.labelled(example.values)
    return torch.from_numpy(example.outputs[rows]), torch.from_numpy(example.values[rows])


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_gradients_are_finite_at_extremes(example: Example, scale: float) -> None:
    outputs, target = batch(example)
    for options in OPTIONS:
        loss = example.task.criterion(target, options)
        for rows in (slice(None), slice(0, 1)):
            given = (scale * outputs[rows]).float().requires_grad_()
            value = loss(given, target[rows])
            value.backward()
            assert given.grad is not None
            assert value.isfinite(), options
            assert value >= 0, options
            assert given.grad.isfinite().all(), options


@pytest.mark.parametrize("options", OPTIONS[::5])
def test_gradients_are_those_of_finite_differences(example: Example, options: LossOptions) -> None:
    outputs, target = batch(example)
    if options.class_weights == "balanced" and example.task.exclusive:
        options = LossOptions(options.loss, "none", options.focal_gamma, options.label_smoothing)  # weights are float32
    loss = example.task.criterion(target.double() if target.is_floating_point() else target, options)
    few = target[:9].double() if target.is_floating_point() else target[:9]
    assert torch.autograd.gradcheck(lambda given: loss(given, few), outputs[:9].clone().requires_grad_())


def test_a_batch_without_label_has_no_loss() -> None:
    for task in (ActionUnits(NAMES), ValenceArousal(NAMES), ValenceArousal(NAMES, loss="mse")):
        outputs = torch.ones(3, 3, requires_grad=True)
        loss = task.criterion(torch.zeros(3, 3), LossOptions())(outputs, torch.full((3, 3), float("nan")))
        loss.backward()
        assert loss.item() == 0
        assert outputs.grad is not None
        assert not outputs.grad.any()


def test_options_that_have_no_effect_are_named() -> None:
    given = {"loss": "focal", "focal_gamma": 1.0, "logit_adjustment": 1.0, "epochs": 3}
    assert Expression(NAMES).unused(given) == []
    assert ActionUnits(NAMES).unused(given) == ["logit_adjustment"]
    assert Votes(NAMES).unused(given) == ["focal_gamma", "logit_adjustment", "loss"]
    assert ValenceArousal(NAMES).unused(given) == ["focal_gamma", "logit_adjustment", "loss"]


def test_names_of_columns_come_from_those_of_metrics() -> None:
    found = [(cls(NAMES).key, cls(NAMES).score_key) for cls in (Expression, Votes, ActionUnits, ValenceArousal)]
    assert found == [("macro_f1", "f1"), ("macro_f1", "f1"), ("mean_f1", "f1"), ("mean_ccc", "ccc")]
