from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_tasks import expression

from fusionkit.config.recipe import Recipe
from fusionkit.training.finetune_run import frame_loss

LABELS = np.array([0] * 6 + [1] * 3 + [2])
WEIGHTS = 10 / (3 * np.array([6, 3, 1]))


def by_hand(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return float(np.mean([-weights[label] * np.log(shares[row, label]) for row, label in enumerate(truth)]))


@pytest.mark.parametrize(("named", "weights"), [("balanced", WEIGHTS), ("none", np.ones(3))])
def test_it_is_a_weighted_mean_over_frames(named: str, weights: np.ndarray) -> None:
    logits = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    truth = np.array([0, 0, 1, 2, 2, 1, 0, 1])
    loss = frame_loss(Recipe(class_weights=named), torch.from_numpy(LABELS), expression(3))
    found = loss(torch.from_numpy(logits), torch.from_numpy(truth))
    assert float(found) == pytest.approx(by_hand(logits, truth, weights), rel=1e-5)
    assert np.mean(weights[LABELS]) == pytest.approx(1)


@pytest.mark.parametrize(
    "recipe", [Recipe(), Recipe(label_smoothing=0.2), Recipe(loss="focal"), Recipe(class_weights="none")]
)
def test_pieces_of_a_batch_have_its_mean(recipe: Recipe) -> None:
    logits, truth = torch.randn(8, 3), torch.tensor([0, 0, 0, 0, 2, 1, 2, 2])
    loss = frame_loss(recipe, torch.from_numpy(LABELS), expression(3))
    pieces = [loss(logits[rows], truth[rows]) for rows in (slice(0, 4), slice(4, 8))]
    assert float(sum(pieces) / 2) == pytest.approx(float(loss(logits, truth)), rel=1e-5)
