"""Losses, labels and scores of several tasks that one head learns together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from fusionkit.contracts import LossOptions
from fusionkit.engine.joint_task import JointTask, Member, columns_of
from fusionkit.registry.spec import Spec

LABEL = np.array([0, 2, -1, 1, -1])
UNITS = np.array([[1, 0], [np.nan, 1], [0, 0], [np.nan, np.nan], [np.nan, np.nan]], np.float32)
VALUES = JointTask.joined_values([LABEL, UNITS])


def joint_of(weighting: str = "equal") -> JointTask:
    members = [Member(Spec("expression"), ("a", "b", "c"), 0), Member(Spec("action-units"), ("AU1", "AU2"), 2)]
    return JointTask(members, weighting)


@pytest.fixture
def joint() -> JointTask:
    return joint_of()


def by_hand(outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    first = functional.cross_entropy(outputs[[0, 1, 3], :3], torch.tensor([0, 2, 1]))
    known = [(0, 0, 1.0), (0, 1, 0.0), (1, 1, 1.0), (2, 0, 0.0), (2, 1, 0.0)]
    second = sum(
        functional.binary_cross_entropy_with_logits(outputs[row, 3 + unit], torch.tensor(truth))
        for row, unit, truth in known
    )
    return first, torch.as_tensor(second) / len(known)


def test_labels_come_back_as_each_task_has_them(joint: JointTask) -> None:
    assert joint.outputs == 5
    label = joint.member_values(VALUES, 0)
    assert label.dtype == np.int64
    assert label.tolist() == LABEL.tolist()
    np.testing.assert_array_equal(joint.member_values(VALUES, 1), UNITS)
    assert [columns_of(joint.described, index) for index in (0, 1)] == [slice(0, 3), slice(3, 5)]
    assert joint.labelled(VALUES).tolist() == [True, True, True, True, False]


def test_the_loss_is_the_sum_over_the_frames_that_each_task_labels(joint: JointTask) -> None:
    outputs = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    target = torch.from_numpy(VALUES)
    loss = joint.criterion(target, LossOptions())
    first, second = by_hand(outputs)
    torch.testing.assert_close(loss(outputs, target), first + second)
    torch.testing.assert_close(
        loss(outputs[3:], target[3:]), functional.cross_entropy(outputs[3:4, :3], torch.tensor([1]))
    )
    assert loss(outputs[4:], target[4:]) == 0


def test_fixed_weights_are_in_the_order_of_the_tasks() -> None:
    outputs = torch.randn(5, 5, generator=torch.Generator().manual_seed(3))
    target = torch.from_numpy(VALUES)
    first, second = by_hand(outputs)
    loss = joint_of("2+0.25").criterion(target, LossOptions())
    torch.testing.assert_close(loss(outputs, target), 2 * first + 0.25 * second)


def test_uncertainty_weights_each_loss_by_what_is_learned() -> None:
    outputs = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    target = torch.from_numpy(VALUES)
    loss = joint_of("uncertainty").criterion(target, LossOptions())
    s = loss.log_variances
    with torch.no_grad():
        s.copy_(torch.tensor([0.5, -1.0]))
    first, second = by_hand(outputs)
    found = loss(outputs, target)
    torch.testing.assert_close(found, first * np.exp(-0.5) + 0.25 + second * np.exp(1.0) - 0.5)
    found.backward()
    torch.testing.assert_close(s.grad, torch.stack([0.5 - np.exp(-0.5) * first, 0.5 - np.exp(1.0) * second]))


def test_scores_and_metric_are_those_of_each_task(joint: JointTask) -> None:
    outputs = np.random.default_rng(2).normal(size=(5, 5))
    predictions = joint.joined(joint.distributions(outputs))
    scores, metrics = [], []
    for index, own in enumerate((LABEL, UNITS)):
        task, columns = joint.members[index], columns_of(joint.described, index)
        rows = task.labelled(own)
        counts = task.counts(own[rows], predictions[rows, columns], np.zeros(rows.sum(), np.int64), 1)[0]
        scores.append(task.scores(counts))
        metrics.append(task.metric(counts))
    counts = joint.counts(VALUES, predictions, np.zeros(5, np.int64), 1)[0]
    np.testing.assert_array_equal(joint.scores(counts), np.concatenate(scores))
    assert joint.dev_metric(VALUES, predictions) == pytest.approx(np.mean(metrics))
