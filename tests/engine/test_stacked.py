"""Heads of several seeds that are trained together are those that are trained one at a time, to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toy_components import registered, toy_house  # noqa: F401
from toy_features import made
from toy_tasks import expression

from fusionkit.config.recipe import Recipe
from fusionkit.contracts.fusion import Batch, Fusion, FusionOutput
from fusionkit.engine.fit import Head, fit
from fusionkit.engine.stacked import StackError, fit_stacked
from fusionkit.registry import FUSIONS
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")
SEEDS = (3, 0, 7)


def both(fusion: str, recipe: Recipe, **data: Any) -> list[tuple[Head, Head]]:
    """Heads of each seed, trained together and alone."""
    features, rows = made(**data)
    stacked = fit_stacked(features, rows, expression(3), Spec.parse(fusion), recipe, SEEDS, "cpu")
    alone = [fit(features, rows, expression(3), Spec.parse(fusion), recipe, seed, "cpu") for seed in SEEDS]
    return list(zip(stacked, alone, strict=True))


def check(one: Head, other: Head, atol: float = 2e-4) -> None:
    for name in ("dev_logits", "test_logits"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=atol, rtol=0)
    assert one.state.keys() == other.state.keys()
    for name, value in other.state.items():
        np.testing.assert_allclose(one.state[name], value, atol=atol, rtol=0)
    assert one.history == pytest.approx(other.history)
    for name in ("best_epoch", "steps", "params", "gflops"):
        assert getattr(one, name) == getattr(other, name)
    np.testing.assert_array_equal(one.test_complete, other.test_complete)


@pytest.mark.parametrize(
    ("fusion", "recipe"),
    [
        ("mlp:hidden=8", Recipe(epochs=4, lr=0.01)),
        ("gated:width=8", Recipe(epochs=2, lr=0.01, optimizer="adam", weight_decay=0.01)),
        ("plain-concat", Recipe(epochs=3, lr=0.02, loss="focal", view_dropout=0.4, batch_size=7)),
        ("linear", Recipe(epochs=3, lr=0.02, batch_size=7)),
        ("mlp:hidden=8", Recipe(epochs=3, lr=0.01, view_heads=0.5)),
        ("mlp:hidden=8", Recipe(epochs=3, lr=0.01, view_dropout=0.3, logit_adjustment=1.0, class_weights="none")),
    ],
)
def test_each_seed_has_the_head_that_it_has_alone(fusion: str, recipe: Recipe) -> None:
    pairs = both(fusion, recipe, missing=0.2)
    for stacked, alone in pairs:
        check(stacked, alone)
    one, other = pairs[0][0], pairs[1][0]
    assert not np.allclose(one.test_logits, other.test_logits, atol=1e-2, equal_nan=True)


def test_each_seed_stops_and_keeps_its_best_epoch_by_itself() -> None:
    pairs = both("mlp:hidden=8", Recipe(epochs=40, lr=0.03, patience=2))
    assert len({len(stacked.history) for stacked, _ in pairs}) > 1
    for stacked, alone in pairs:
        check(stacked, alone, atol=5e-3)


class OfBatch(Fusion):
    """A loss that looks at the whole batch, and that is not finite for large logits."""

    limit: float = 0.0

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.layer = torch.nn.Linear(sum(in_dims.values()), 4)

    def fuse(self, views: dict[str, torch.Tensor], present: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.layer(torch.cat(list(views.values()), 1))

    def loss(self, output: FusionOutput, batch: Batch) -> torch.Tensor:
        assert output.logits is not None
        weight = 1 + (batch.number % 3) + batch.epoch
        each = torch.nn.functional.cross_entropy(output.logits, batch.target, reduction="none")
        return (weight * each).mean() / (1.0 if not self.limit else (output.logits.abs().amax() < self.limit).float())


def test_a_loss_may_use_the_whole_batch() -> None:
    with registered(FUSIONS, "toy-of-batch", OfBatch):
        for stacked, alone in both("toy-of-batch", Recipe(epochs=3, lr=0.01)):
            check(stacked, alone)


def test_a_loss_that_is_not_finite_is_left_to_the_training_of_one_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OfBatch, "limit", 1e-6)
    features, rows = made()
    with (
        registered(FUSIONS, "toy-of-batch", OfBatch),
        pytest.raises(StackError, match="a loss is not finite"),
    ):
        fit_stacked(features, rows, expression(3), Spec("toy-of-batch"), Recipe(epochs=2), SEEDS, "cpu")


class Clipped(OfBatch):
    """It changes its gradients."""

    def after_backward(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters(), 1.0)


@pytest.mark.parametrize(
    ("fusion", "recipe", "reason"),
    [
        ("mlp:dropout=0.5,hidden=8", Recipe(epochs=1), "random"),
        ("mlp:hidden=8", Recipe(epochs=1, view_heads=0.5, gradient_modulation=0.3), "modulated"),
        ("toy-clipped", Recipe(epochs=1, view_heads=0.5), "after_backward"),
        ("linear", Recipe(epochs=1, label_smoothing=0.1), "vmap"),  # torch selects by values in it
        ("toy-forest", Recipe(epochs=1), "at once"),
    ],
)
def test_what_cannot_be_stacked_is_refused_with_the_reason(fusion: str, recipe: Recipe, reason: str) -> None:
    features, rows = made()
    with registered(FUSIONS, "toy-clipped", Clipped), pytest.raises(StackError, match=reason):
        fit_stacked(features, rows, expression(3), Spec.parse(fusion), recipe, SEEDS, "cpu")
