"""``expression`` and ``votes`` against scikit-learn, and their losses against sums by hand."""

from __future__ import annotations

from itertools import product
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from fusionkit.contracts import LossOptions
from fusionkit_tasks.expression import Expression
from fusionkit_tasks.single_label import calibration_error
from fusionkit_tasks.votes import Votes

NAMES = ("neutral", "happy", "sad", "angry")
SHARES = (0.5, 0.3, 0.15, 0.05)
Frames = tuple[np.ndarray, np.ndarray, np.ndarray]


def frames(seed: int = 0, count: int = 300, classes: tuple[int, ...] = (0, 1, 2, 3)) -> Frames:
    """Labels of some classes, predictions and units of frames."""
    rng = np.random.default_rng(seed)
    share = np.array(SHARES)[list(classes)]
    values = rng.choice(classes, count, p=share / share.sum())
    logits = rng.normal(size=(count, 4)) + 1.2 * np.eye(4)[values]
    return values, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rng.integers(0, 5, count)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_counts_are_scikit_learns_confusion_matrix_of_each_unit() -> None:
    values, predictions, unit = frames()
    counts = Expression(NAMES).counts(values, predictions, unit, 6)
    for index in range(6):
        rows = unit == index
        expected = (
            np.zeros((4, 4))
            if index == 5
            else confusion_matrix(values[rows], predictions[rows].argmax(1), labels=range(4))
        )
        np.testing.assert_array_equal(counts[index], expected)


def test_scores_are_scikit_learns() -> None:
    values, predictions, unit = frames()
    task, found = Expression(NAMES), predictions.argmax(1)
    counts = task.counts(values, predictions, unit, 5).sum(0)
    np.testing.assert_allclose(task.scores(counts), f1_score(values, found, average=None))
    assert float(task.metric(counts)) == pytest.approx(f1_score(values, found, average="macro"))
    assert float(task.measures(counts)["accuracy"]) == pytest.approx(accuracy_score(values, found))
    assert float(task.measures(counts)["uar"]) == pytest.approx(balanced_accuracy_score(values, found))
    np.testing.assert_allclose(task.predicted(counts), np.bincount(found, minlength=4) / len(found))
    np.testing.assert_array_equal(task.support(counts), np.bincount(values, minlength=4))
    assert task.confusion(counts) is counts


def test_a_class_that_is_not_in_the_truth_is_left_out_and_not_zero() -> None:
    values, predictions, unit = frames(classes=(0, 1, 3))
    task, found = Expression(NAMES), predictions.argmax(1)
    assert (found == 2).any()
    counts = task.counts(values, predictions, unit, 5).sum(0)
    in_truth = f1_score(values, found, average="macro", labels=[0, 1, 3])
    assert float(task.metric(counts)) == pytest.approx(in_truth)
    assert f1_score(values, found, average="macro") < in_truth
    assert task.absent(values) == ["sad"]


def test_the_metric_of_given_classes_leaves_out_those_without_score() -> None:
    task = Expression(NAMES)
    counts = np.diag([3, 2, 0, 0])
    counts[0, 1] = 1
    scores = np.array([6 / 7, 4 / 5])
    assert float(task.metric(counts, np.array([True, False, False, False]))) == pytest.approx(scores[0])
    assert float(task.metric(counts, np.array([True, True, True, True]))) == pytest.approx(scores.mean())
    assert np.isnan(task.metric(counts, np.array([False, False, True, True])))


@pytest.mark.parametrize("seed", range(5))
def test_no_other_constant_class_is_better(seed: int) -> None:
    values, predictions, unit = frames(seed, 40)
    task = Expression(NAMES)
    counts = np.stack([task.counts(values, predictions, unit, 5)] * 2)  # seeds and units
    best = task.metric(task.constant(counts).sum(1))
    for index in range(4):
        other = task.counts(values, np.eye(4)[np.full(40, index)], unit, 5)
        assert task.metric(other.sum(0)) <= best[0] + 1e-12
    share = np.bincount(values).max() / 40
    np.testing.assert_allclose(best, 2 * share / (1 + share) / len(np.unique(values)))


def test_calibration_error_is_the_gap_of_each_bin() -> None:
    values, predictions, _ = frames(count=500)
    confidence, right = predictions.max(1), predictions.argmax(1) == values
    gap = 0.0
    for index in range(15):
        inside = (confidence > index / 15) & (confidence <= (index + 1) / 15)
        if inside.any():
            gap += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(predictions, values) == pytest.approx(gap)
    found = Expression(NAMES).diagnostics(values, predictions)
    assert found == {"ece": pytest.approx(gap), "predicted_classes": 4}


def test_a_bin_of_the_calibration_error_includes_its_upper_edge() -> None:
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25]])  # the first is right, the second wrong
    assert calibration_error(probabilities, np.array([0, 1]), bins=2) == (0.5 + 0.75) / 2


# -- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([0, 3, -1]), ""),
        (np.array([0, 4, 5]), "label 4 of row 1 is not in -1..3"),
        (np.array([0, 1, -2]), "label -2 of row 2 is not in -1..3"),
        (np.zeros((3, 4), int), "labels are (3, 4), not (N,): one class per frame"),
    ],
)
def test_classes_that_do_not_exist_are_named(values: np.ndarray, message: str) -> None:
    assert Expression(NAMES).problem(values) == message


NAN = float("nan")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([2, 0, 0, 1], ""),
        ([0.5, 0.5, 0, 0], ""),
        ([NAN] * 4, ""),
        ([0, 0, 0, 0], "votes [0.0, 0.0, 0.0, 0.0] of row 1"),
        ([1, -1, 3, 0], "votes [1.0, -1.0, 3.0, 0.0] of row 1"),
        ([1, NAN, 3, 0], "votes [1.0, nan, 3.0, 0.0] of row 1"),
        ([1, float("inf"), 3, 0], "votes [1.0, inf, 3.0, 0.0] of row 1"),
        ([1, 2, 3], "labels are (2, 3), not (N, 4): one column per name"),
    ],
)
def test_wrong_votes_are_named(row: list[float], message: str) -> None:
    values = np.array([[1.0] + [0.0] * (len(row) - 1), row], np.float32)
    found = Votes(NAMES).problem(values)
    assert found.startswith(message)
    assert bool(found) == bool(message)


def test_votes_are_scored_by_their_majority_and_the_first_of_equal_ones() -> None:
    values = np.array([[1, 5, 2, 0], [3, 0, 3, 1], [NAN] * 4, [0, 0, 0.1, 0.9]], np.float32)
    task = Votes(NAMES)
    assert task.hard_labels(values).tolist() == [1, 0, -1, 3]
    assert task.labelled(values).tolist() == [True, True, False, True]
    assert [found.tolist() for found in task.class_labels(values)] == [[1, 0, -1, 3]]
    _, predictions, unit = frames(count=4)
    np.testing.assert_array_equal(
        task.counts(values, predictions, unit, 5),
        Expression(NAMES).counts(np.array([1, 0, -1, 3]), predictions, unit, 5),
    )


def test_the_ceiling_is_the_score_of_all_choices_of_annotators() -> None:
    votes = np.array([[3, 1, 0, 0], [1, 2, 0, 0], [0, 1, 4, 0], [NAN] * 4, [2, 2, 1, 0]], np.float32)
    kept = votes[[0, 1, 2, 4]]
    expected = np.zeros((4, 4))
    for choice in product(range(4), repeat=4):
        chance = float(np.prod([row[found] / row.sum() for row, found in zip(kept, choice, strict=True)]))
        for row, found in zip(kept, choice, strict=True):
            expected[row.argmax(), found] += chance
    scores = [2 * expected[index, index] / (expected[index].sum() + expected[:, index].sum()) for index in (0, 1, 2)]
    name, found = Votes(NAMES).ceiling(votes) or ("", 0.0)
    assert "annotator" in name
    assert found == pytest.approx(float(np.mean(scores)))
    assert Votes(NAMES).ceiling(np.full((2, 4), np.nan)) is None


# -- losses ------------------------------------------------------------------------------------------------------------


def log_shares(row: np.ndarray) -> list[float]:
    total = log(sum(exp(value) for value in row.tolist()))
    return [value - total for value in row.tolist()]


def naive_class_loss(logits: np.ndarray, truth: np.ndarray, train: np.ndarray, options: LossOptions) -> float:
    """The loss of labels, by a loop over frames and classes."""
    count = np.maximum(np.bincount(train, minlength=4), 1)
    weight = len(train) / (4 * count) if options.class_weights == "balanced" else np.ones(4)
    total = whole = 0.0
    for row, label in zip(logits + options.logit_adjustment * np.log(count / count.sum()), truth, strict=True):
        logs = log_shares(row)
        if options.loss == "focal":
            total += weight[label] * (1 - exp(logs[label])) ** options.focal_gamma * -logs[label]
        else:
            target = options.label_smoothing / 4 + (1 - options.label_smoothing) * np.eye(4)[label]
            total -= sum(weight[index] * target[index] * logs[index] for index in range(4))
        whole += weight[label]
    return total / whole


OPTIONS: list[dict[str, Any]] = [
    {},
    {"class_weights": "balanced"},
    {"label_smoothing": 0.2},
    {"class_weights": "balanced", "label_smoothing": 0.2},
    {"logit_adjustment": 1.5},
    {"loss": "focal", "focal_gamma": 0.5},
    {"loss": "focal", "class_weights": "balanced", "logit_adjustment": 1.0},
]


@pytest.mark.parametrize("given", OPTIONS)
def test_the_loss_of_expressions_is_that_of_a_loop(given: dict[str, Any]) -> None:
    options = LossOptions(**given)
    train, _, _ = frames(3, 50, classes=(0, 1, 3))  # one class has no training frame
    truth, _, _ = frames(4, 12)
    logits = np.random.default_rng(5).normal(0, 2, (12, 4))
    loss = Expression(NAMES).criterion(torch.from_numpy(train), options)
    found = loss(torch.from_numpy(logits).float(), torch.from_numpy(truth))
    assert found.item() == pytest.approx(naive_class_loss(logits, truth, train, options), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_the_loss_of_votes_is_that_of_a_loop(weights: Any, smoothing: float) -> None:
    options = LossOptions(class_weights=weights, label_smoothing=smoothing)
    rng = np.random.default_rng(1)
    train, votes = (rng.integers((1, 0, 0, 0), 10, (count, 4)).astype(np.float32) for count in (60, 9))
    logits = rng.normal(0, 2, (9, 4))
    frequency = (train / train.sum(1, keepdims=True)).mean(0)
    weight = 1 / (4 * frequency) if weights == "balanced" else np.ones(4)
    total = whole = 0.0
    for row, vote in zip(logits, votes, strict=True):
        share, logs = vote / vote.sum(), log_shares(row)
        target = (1 - smoothing) * share + smoothing / 4
        total -= sum(weight[index] * target[index] * logs[index] for index in range(4))
        whole += float(weight @ share)
    loss = Votes(NAMES).criterion(torch.from_numpy(train).float(), options)
    found = loss(torch.from_numpy(logits).float(), torch.from_numpy(votes).float())
    assert found.item() == pytest.approx(total / whole, rel=1e-5)


@pytest.mark.parametrize("given", OPTIONS[:4])
def test_votes_that_agree_are_labels(given: dict[str, Any]) -> None:
    options = LossOptions(**given)
    train, truth = (torch.from_numpy(frames(seed, 80)[0]) for seed in (3, 4))
    logits = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    as_votes = Votes(NAMES).criterion(7.0 * torch.eye(4)[train], options)(logits, 3.0 * torch.eye(4)[truth])
    as_labels = Expression(NAMES).criterion(train, options)(logits, truth)
    torch.testing.assert_close(as_votes, as_labels)


def test_focal_loss_with_gamma_0_is_the_cross_entropy() -> None:
    train = torch.from_numpy(frames()[0])
    logits = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    focal = Expression(NAMES).criterion(train, LossOptions("focal", "balanced", focal_gamma=0.0))
    entropy = Expression(NAMES).criterion(train, LossOptions(class_weights="balanced"))
    torch.testing.assert_close(focal(logits, train), entropy(logits, train))
