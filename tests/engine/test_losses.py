"""Each loss equals its formula, computed row by row in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from toy_tasks import criterion

from fusionkit.config.recipe import Recipe

SHARES = [0.6, 0.25, 0.1, 0.05]
C = len(SHARES)


def labels(count: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(C, count, p=SHARES)


def batch(seed: int = 1, count: int = 40, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (spread * rng.normal(size=(count, C))).astype(np.float32), rng.integers(0, C, count)


def by_hand(logits: np.ndarray, truth: np.ndarray, train: np.ndarray, recipe: Recipe) -> float:
    """The formulas of the papers, one row at a time in double precision."""
    share = np.array([max(1, int((train == c).sum())) for c in range(C)], dtype=float)
    weight = len(train) / (C * share) if recipe.class_weights == "balanced" else np.ones(C)
    prior = share / share.sum()
    total, weights = 0.0, 0.0
    for row, y in zip(logits.astype(float), truth, strict=True):
        z = row + recipe.logit_adjustment * np.log(prior)
        log_p = z - np.log(np.exp(z - z.max()).sum()) - z.max()
        weights += weight[y]
        if recipe.loss == "focal":
            total += -weight[y] * (1 - np.exp(log_p[y])) ** recipe.focal_gamma * log_p[y]
            continue
        for c in range(C):
            wanted = (1 - recipe.label_smoothing) * (c == y) + recipe.label_smoothing / C
            total -= weight[c] * wanted * log_p[c]
    return total / weights


def value(recipe: Recipe, logits: np.ndarray, truth: np.ndarray, train: np.ndarray) -> float:
    loss = criterion(recipe, torch.from_numpy(train), C)
    return loss(torch.from_numpy(logits), torch.from_numpy(truth)).item()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weights": "none"},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.3, "class_weights": "none"},
        {"logit_adjustment": 1.0, "class_weights": "none"},
        {"logit_adjustment": 0.5, "label_smoothing": 0.2, "class_weights": "none"},
        {"loss": "focal"},
        {"loss": "focal", "class_weights": "none"},
        {"loss": "focal", "focal_gamma": 0.5},
        {"loss": "focal", "focal_gamma": 5.0, "class_weights": "none"},
        {"loss": "focal", "logit_adjustment": 1.5, "class_weights": "none"},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_loss_equals_its_formula(options: dict[str, Any], seed: int) -> None:
    recipe = Recipe.of(options)
    logits, truth = batch(seed)
    assert value(recipe, logits, truth, labels()) == pytest.approx(by_hand(logits, truth, labels(), recipe), rel=1e-5)


@pytest.mark.parametrize("weights", ["balanced", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_cross_entropy_is_torchs_to_the_bit(weights: Any, smoothing: float) -> None:
    train = torch.from_numpy(labels())
    weight = (len(train) / (C * torch.bincount(train, minlength=C))).float() if weights == "balanced" else None
    logits, truth = (torch.from_numpy(item) for item in batch())
    found = criterion(Recipe(class_weights=weights, label_smoothing=smoothing), train, C)(logits, truth)
    assert torch.equal(found, functional.cross_entropy(logits, truth, weight=weight, label_smoothing=smoothing))


@pytest.mark.parametrize("weights", ["balanced", "none"])
def test_focal_without_a_focus_is_the_cross_entropy(weights: Any) -> None:
    logits, truth = batch()
    focal, plain = Recipe(loss="focal", focal_gamma=0.0, class_weights=weights), Recipe(class_weights=weights)
    assert value(focal, logits, truth, labels()) == pytest.approx(value(plain, logits, truth, labels()), rel=1e-6)


@settings(max_examples=examples(50))
@given(
    gamma=st.floats(0, 6),
    sure=st.floats(-80, 80),
    weights=st.sampled_from(["balanced", "none"]),
)
def test_focal_and_its_slope_are_finite_however_sure_the_head_is(gamma: float, sure: float, weights: Any) -> None:
    logits = torch.tensor([[sure, 0.0, 0.0, 0.0], [0.0, 0.3, -sure, 0.1]], requires_grad=True)
    recipe = Recipe(loss="focal", focal_gamma=gamma, class_weights=weights)
    loss = criterion(recipe, torch.from_numpy(labels()), C)(logits, torch.tensor([0, 2]))
    loss.backward()
    assert 0 <= loss.item() < 200
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_slope_of_focal_is_that_of_its_formula(gamma: float) -> None:
    logits, truth = batch(count=6)
    recipe, train, step = Recipe(loss="focal", focal_gamma=gamma), labels(), 1e-5
    given_logits = torch.from_numpy(logits).requires_grad_()
    criterion(recipe, torch.from_numpy(train), C)(given_logits, torch.from_numpy(truth)).backward()
    assert given_logits.grad is not None
    for row, column in np.ndindex(logits.shape):
        up, down = logits.astype(float), logits.astype(float)
        up[row, column] += step
        down[row, column] -= step
        slope = (by_hand(up, truth, train, recipe) - by_hand(down, truth, train, recipe)) / (2 * step)
        assert given_logits.grad[row, column].item() == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_focal_counts_a_frame_that_is_right_less_than_one_that_is_wrong() -> None:
    right, wrong = np.array([[3.0, 0, 0, 0]], np.float32), np.array([[-3.0, 0, 0, 0]], np.float32)
    truth, train = np.array([0]), labels()
    kept = [
        value(Recipe(loss="focal"), each, truth, train) / value(Recipe(), each, truth, train) for each in (right, wrong)
    ]
    p = [np.exp(3) / (np.exp(3) + 3), np.exp(-3) / (np.exp(-3) + 3)]
    assert kept == pytest.approx([(1 - each) ** 2 for each in p], rel=1e-4)


def test_logit_adjustment_of_one_makes_equal_logits_the_optimum_where_inputs_say_nothing() -> None:
    """Frames that all look alike: the plain loss learns the class shares, the adjusted one that all are alike."""
    train = torch.from_numpy(labels(2000))
    for tau, expected in ((0.0, np.bincount(train, minlength=C) / len(train)), (1.0, np.full(C, 1 / C))):
        loss = criterion(Recipe(class_weights="none", logit_adjustment=tau), train, C)
        bias = torch.zeros(C, requires_grad=True)
        optimizer = torch.optim.LBFGS([bias], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

        def closure(loss: Any = loss, bias: Any = bias, optimizer: Any = optimizer) -> torch.Tensor:
            optimizer.zero_grad()
            found = loss(bias.expand(len(train), C), train)
            found.backward()
            return found

        optimizer.step(closure)
        np.testing.assert_allclose(torch.softmax(bias.detach(), 0).numpy(), expected, atol=1e-3)


@pytest.mark.parametrize(
    "options", [{}, {"logit_adjustment": 1.0, "class_weights": "none"}, {"loss": "focal"}], ids=str
)
def test_a_class_without_a_training_frame_counts_as_if_it_had_one(options: dict[str, Any]) -> None:
    train = np.array([0] * 30 + [1] * 15 + [2] * 5)
    logits, truth = batch()
    found = value(Recipe.of(options), logits, truth, train)
    assert found == pytest.approx(by_hand(logits, truth, train, Recipe.of(options)), rel=1e-5)


def test_logits_are_not_changed_in_place() -> None:
    logits, truth = batch()
    before = logits.copy()
    value(Recipe(class_weights="none", logit_adjustment=2.0), logits, truth, labels())
    np.testing.assert_array_equal(logits, before)
