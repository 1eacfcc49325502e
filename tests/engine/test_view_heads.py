"""Training of single views: adapters and their classifiers, gradient modulation, view dropout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from fusionkit.contracts import Batch, Fusion, FusionOutput
from fusionkit.engine.fit import WithViewHeads, dominance, drop_views

DIMS = {"face": 4, "eye": 3}
CLASSES, ROWS = 3, 12


class Sides(Fusion):
    """The views side by side."""

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return torch.cat([views[name] for name in self.in_dims], 1)


def wrapped(weight: float = 0.5, modulation: float = 0.0) -> WithViewHeads:
    torch.manual_seed(0)
    inner = Sides(DIMS, CLASSES)
    inner.attach_head()
    return WithViewHeads(inner, weight, modulation)


def rows() -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(ROWS, dim, generator=generator) for name, dim in DIMS.items()}, torch.arange(
        ROWS
    ) % CLASSES


def loss(model: Fusion, views: dict[str, Tensor], target: Tensor) -> Tensor:
    row = torch.arange(ROWS)
    present = dict.fromkeys(views, torch.ones(ROWS, dtype=torch.bool))
    return model.training_loss(model(views), Batch(views, present, target, row, row, row, epoch=1))


def test_it_starts_as_the_fusion_itself() -> None:
    model, (views, _) = wrapped(), rows()
    torch.testing.assert_close(model(views).logits, model.inner(views).logits, rtol=0, atol=0)


def test_the_loss_is_the_fusions_plus_the_mean_of_the_views_own() -> None:
    model, (views, target) = wrapped(0.5), rows()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    adapted = {
        name: views[name] @ (torch.eye(dim) + layer.weight).T + layer.bias
        for (name, dim), layer in zip(DIMS.items(), model.adapters, strict=True)
    }
    together = functional.cross_entropy(model.inner(adapted).logits, target)
    own = [
        functional.cross_entropy(adapted[name] @ layer.weight.T + layer.bias, target)
        for name, layer in zip(DIMS, model.classifiers, strict=True)
    ]
    torch.testing.assert_close(loss(model, views, target), together + 0.5 * (own[0] + own[1]) / 2)


class OfTheBatch(Sides):
    """Its loss is the mean of what its fusion got of the face."""

    def loss(self, output: FusionOutput, batch: Batch, /) -> Tensor:
        return batch.views["face"].mean()


def test_the_loss_of_the_fusion_gets_the_adapted_views() -> None:
    inner = OfTheBatch(DIMS, CLASSES)
    inner.attach_head()
    model, (views, target) = WithViewHeads(inner, 0.5, 0.0), rows()
    torch.nn.init.constant_(model.adapters[0].bias, 2.0)
    own = [layer(value) for layer, value in zip(model.classifiers, [views["face"] + 2.0, views["eye"]], strict=True)]
    expected = views["face"].mean() + 2.0 + 0.5 * sum(functional.cross_entropy(each, target) for each in own) / 2
    torch.testing.assert_close(loss(model, views, target), expected)


def test_dominance_is_the_ratio_of_true_class_probabilities() -> None:
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(3, 8, CLASSES)), rng.integers(0, CLASSES, 8)
    probs = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    sums = [sum(view[row, label] for row, label in enumerate(target)) for view in probs]
    expected = [
        sums[0] / ((sums[1] + sums[2]) / 2),
        sums[1] / ((sums[0] + sums[2]) / 2),
        sums[2] / ((sums[0] + sums[1]) / 2),
    ]
    found = dominance([torch.from_numpy(view) for view in logits], torch.from_numpy(target))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    assert dominance([torch.from_numpy(logits[0])], torch.from_numpy(target)).tolist() == [1.0]


def test_gradients_of_a_dominant_view_are_reduced_and_noise_has_their_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, (views, target) = wrapped(1.0, modulation=0.8), rows()
    with torch.no_grad():
        model.classifiers[0].weight.copy_(torch.eye(CLASSES, DIMS["face"]))
    views["face"] = 3 * functional.one_hot(target, DIMS["face"]).float() + 0.1 * views["face"]  # tells the class
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    loss(model, views, target).backward()
    logits = model(views).view_logits or {}
    ahead = dominance([logits[name].detach() for name in DIMS], target).tolist()
    assert ahead[0] > 1 > ahead[1]
    before = [parameter.grad.clone() for layer in model.adapters for parameter in layer.parameters()]
    others = [parameter.grad.clone() for parameter in model.inner.parameters()]
    model.after_backward()
    after = [parameter.grad for layer in model.adapters for parameter in layer.parameters()]
    kept = [1 - np.tanh(0.8 * ahead[0])] * 2 + [1.0] * 2
    for old, new, share in zip(before, after, kept, strict=True):
        expected = share * old.numpy() + old.numpy().std()
        np.testing.assert_allclose(new.numpy(), expected, rtol=1e-4, atol=1e-7)
    for old, parameter in zip(others, model.inner.parameters(), strict=True):
        assert torch.equal(old, parameter.grad)


@settings(max_examples=examples(40))
@given(st.integers(1, 4), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_a_dropped_view_is_like_a_missing_one_and_no_row_loses_its_last(count: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    names = [f"v{number}" for number in range(count)]
    views = {name: torch.randn(20, 2, generator=generator) for name in names}
    present = {name: torch.rand(20, generator=generator) < 0.7 for name in names}
    filling = {name: torch.full((2,), 9.0) for name in names}
    left, still = drop_views(views, present, share, filling, generator)
    for row in range(20):
        had = [name for name in names if present[name][row]]
        has = [name for name in names if still[name][row]]
        assert set(has) <= set(had)
        assert bool(has) == bool(had)
        for name in names:
            expected = filling[name] if name in had and name not in has else views[name][row]
            assert torch.equal(left[name][row], expected)


def test_views_are_dropped_as_often_as_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    views = {name: torch.zeros(20_000, 1) for name in "abc"}
    present = {name: torch.ones(20_000, dtype=torch.bool) for name in "abc"}
    _, still = drop_views(views, present, 0.4, {name: torch.zeros(1) for name in "abc"}, generator)
    left = torch.stack(list(still.values()), 1).float()
    # Each view goes with .4; where all three would (.064), one comes back.
    assert abs(left.mean().item() - (0.6 + 0.064 / 3)) < 0.005
    assert left.sum(1).min() == 1
    untouched, all_there = drop_views(views, present, 0.0, {name: torch.ones(1) for name in "abc"}, generator)
    assert all(torch.equal(untouched[name], views[name]) and bool(all_there[name].all()) for name in "abc")


class Maps(Fusion):
    """The means of maps."""

    needs = "map"

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        return torch.cat([views[name].mean((2, 3)) for name in self.in_dims], 1)


def test_views_of_maps_have_an_adapter_and_a_classifier_of_their_mean() -> None:
    inner = Maps(DIMS, CLASSES)
    inner.attach_head()
    model = WithViewHeads(inner, 0.5, 0.0)
    views = {name: torch.randn(ROWS, 2, 4, dim) for name, dim in DIMS.items()}
    target = torch.arange(ROWS) % CLASSES
    means = {name: value.mean((1, 2)) for name, value in views.items()}
    joint = inner.head(torch.cat(list(means.values()), 1))
    own = [layer(means[name]) for name, layer in zip(DIMS, model.classifiers, strict=True)]
    expected = functional.cross_entropy(joint, target)
    expected = expected + 0.5 * torch.stack([functional.cross_entropy(each, target) for each in own]).mean()
    torch.testing.assert_close(loss(model, views, target), expected)
