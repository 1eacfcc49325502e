"""``action-units`` against scikit-learn, and its loss against sums by hand."""

from __future__ import annotations

from itertools import product
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_score, recall_score

from fusionkit.contracts import LossOptions
from fusionkit_tasks.action_units import ActionUnits

NAMES = ("AU1", "AU4", "AU12", "AU25")
NAN = float("nan")


def frames(seed: int = 0, count: int = 200, unlabelled: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and units of frames."""
    rng = np.random.default_rng(seed)
    values = (rng.random((count, 4)) < [0.5, 0.3, 0.1, 0.7]).astype(np.float32)
    predictions = 1 / (1 + np.exp(-(rng.normal(size=(count, 4)) + 1.5 * values - 0.7)))
    values[rng.random((count, 4)) < unlabelled] = np.nan
    return values, predictions, rng.integers(0, 5, count)


def pooled(values: np.ndarray, predictions: np.ndarray, unit: np.ndarray) -> np.ndarray:
    counts: np.ndarray = ActionUnits(NAMES).counts(values, predictions, unit, 5).sum(0)
    return counts


# -- scores ------------------------------------------------------------------------------------------------------------


def test_scores_are_scikit_learns_of_several_labels() -> None:
    values, predictions, unit = frames(unlabelled=0.0)
    task, counts, found = ActionUnits(NAMES), pooled(values, predictions, unit), predictions > 0.5
    np.testing.assert_allclose(task.scores(counts), f1_score(values, found, average=None))
    assert float(task.metric(counts)) == pytest.approx(f1_score(values, found, average="macro"))
    measures = task.measures(counts)
    assert float(measures["precision"]) == pytest.approx(precision_score(values, found, average="macro"))
    assert float(measures["recall"]) == pytest.approx(recall_score(values, found, average="macro"))
    assert float(measures["accuracy"]) == pytest.approx((values == found).mean())
    np.testing.assert_allclose(task.predicted(counts), found.mean(0))


def test_entries_without_label_are_left_out_one_by_one() -> None:
    values, predictions, unit = frames()
    task, counts = ActionUnits(NAMES), pooled(values, predictions, unit)
    expected = []
    for index in range(4):
        rows = ~np.isnan(values[:, index])
        expected.append(f1_score(values[rows, index], predictions[rows, index] > 0.5))
        np.testing.assert_array_equal(
            task.truth(counts)[2 * index : 2 * index + 2], np.bincount(values[rows, index].astype(int))
        )
    np.testing.assert_allclose(task.scores(counts), expected)
    assert float(task.metric(counts)) == pytest.approx(float(np.mean(expected)))


def test_an_action_unit_that_is_never_active_is_left_out_where_scikit_learn_gives_0() -> None:
    values, predictions, unit = frames(unlabelled=0.0)
    values[:, 2] = 0
    task, counts = ActionUnits(NAMES), pooled(values, predictions, unit)
    each = f1_score(values, predictions > 0.5, average=None, zero_division=0.0)
    assert each[2] == 0
    assert task.scores(counts)[2] == 0  # it is predicted somewhere
    assert float(task.metric(counts)) == pytest.approx(each[[0, 1, 3]].mean())
    assert task.absent(values) == ["AU12"]
    never = pooled(values, np.where(np.arange(4) == 2, 0.0, predictions), unit)
    assert np.isnan(task.scores(never)[2])
    assert float(task.metric(never, np.ones(4, bool))) == pytest.approx(each[[0, 1, 3]].mean())


def test_a_probability_of_one_half_is_not_active() -> None:
    counts = ActionUnits(["AU1"]).counts(np.array([[1.0], [1.0]]), np.array([[0.5], [0.5001]]), np.zeros(2, int), 1)
    assert counts[0, 0].tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_constant_answer_is_better(seed: int) -> None:
    values, predictions, unit = frames(seed, 30)
    task = ActionUnits(NAMES)
    counts = task.counts(values, predictions, unit, 5)
    best = float(task.metric(task.constant(counts).sum(0)))
    answers = [np.repeat([answer], 30, axis=0) for answer in product((0.0, 1.0), repeat=4)]
    assert max(float(task.metric(pooled(values, answer, unit))) for answer in answers) == best
    np.testing.assert_array_equal(task.constant(counts), task.counts(values, np.ones((30, 4)), unit, 5))


# -- labels and distributions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0, 1, NAN, 1]], ""),
        ([[0, 1, NAN, 1], [0, 0, 0.5, 0]], "label 0.5 of AU12 in row 1 is not 0, 1 or without value"),
        ([[0, -1, NAN, 1]], "label -1 of AU4 in row 0 is not 0, 1 or without value"),
        ([[0, 1, 1]], "labels are (1, 3), not (N, 4): one column per name"),
        ([0, 1], "labels are (2,), not (N, 4): one column per name"),
    ],
)
def test_wrong_labels_are_named(values: list[Any], message: str) -> None:
    assert ActionUnits(NAMES).problem(np.array(values, np.float32)) == message


def test_strata_are_numbers_of_active_units_and_labels_are_those_of_each() -> None:
    values = np.array([[0, 0, NAN, 0], [1, NAN, NAN, 0], [1, 1, 1, 1], [NAN] * 4], np.float32)
    task = ActionUnits(NAMES)
    assert task.strata(values).tolist() == [0, 1, 3, -1]
    assert [found.tolist() for found in task.class_labels(values)] == [
        [0, 1, 1, -1], [0, -1, 1, -1], [-1, -1, 1, -1], [0, 0, 1, -1]
    ]  # fmt: skip


def test_probabilities_are_sigmoids_of_outputs() -> None:
    outputs = np.random.default_rng(0).normal(0, 3, (7, 4))
    task, probabilities = ActionUnits(NAMES), []
    for logits in task.distributions(outputs):
        odds = np.exp(logits)
        probabilities.append(odds / odds.sum(1, keepdims=True))
    np.testing.assert_allclose(task.joined(probabilities), 1 / (1 + np.exp(-outputs)))


# -- loss --------------------------------------------------------------------------------------------------------------


def naive_loss(logits: np.ndarray, values: np.ndarray, train: np.ndarray, options: LossOptions) -> float:
    """The loss, by a loop over entries."""
    total = whole = 0.0
    for row, column in np.argwhere(~np.isnan(values)).tolist():
        label, z = int(values[row, column]), float(logits[row, column])
        p = 1 / (1 + exp(-z))
        target = label * (1 - options.label_smoothing) + options.label_smoothing / 2
        weight = 1.0
        if options.class_weights == "balanced":
            known = train[~np.isnan(train[:, column]), column]
            weight = len(known) / (2 * max((known == label).sum(), 1))
        factor = (1 - (p if label else 1 - p)) ** options.focal_gamma if options.loss == "focal" else 1.0
        total -= weight * factor * (target * log(p) + (1 - target) * log(1 - p))
        whole += weight
    return total / whole


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"class_weights": "balanced"},
        {"class_weights": "balanced", "label_smoothing": 0.2},
        {"loss": "focal", "focal_gamma": 0.5},
        {"loss": "focal", "class_weights": "balanced"},
    ],
)
def test_the_loss_is_that_of_a_loop(given: dict[str, Any]) -> None:
    options = LossOptions(**given)
    train, _, _ = frames(1, 60)
    train[:, 2] = np.where(np.isnan(train[:, 2]), np.nan, 0)  # never active in training
    train[:, 3] = np.where(np.isnan(train[:, 3]), np.nan, 1)  # always active in training
    values, _, _ = frames(2, 11)
    logits = np.random.default_rng(3).normal(0, 2, (11, 4))
    loss = ActionUnits(NAMES).criterion(torch.from_numpy(train), options)
    found = loss(torch.from_numpy(logits).float(), torch.from_numpy(values))
    assert found.item() == pytest.approx(naive_loss(logits, values, train, options), rel=1e-5)


def test_balanced_weights_count_active_and_inactive_frames_alike() -> None:
    train = torch.tensor([[1.0], [0.0], [0.0], [0.0], [float("nan")]])
    loss = ActionUnits(["AU1"]).criterion(train, LossOptions(class_weights="balanced"))
    logits = torch.zeros(5, 1, requires_grad=True)
    loss(logits, train).backward()
    assert logits.grad is not None
    assert logits.grad[0].item() == pytest.approx(-logits.grad[1:4].sum().item())
    assert logits.grad[4].item() == 0
