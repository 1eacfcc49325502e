"""What holds for every fusion of the package, whatever it computes."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from fusionkit.contracts import Fusion

ROOT = Path(__file__).parents[3]
PLAIN = ["linear", "plain-concat", "plain-mean", "plain-max", "plain-sum", "mlp", "logit-mean"]
GATES = [
    "weighted-mean",
    "gated",
    "film",
    "squeeze-excitation",
    "ms-cam",
    "aff",
    "iaff",
    "region-attention",
    "mixture-of-experts",
]
PRODUCTS = ["hadamard", "low-rank", "tensor", "mutan"]
TOKENS = ["cross-attention", "self-attention", "bottleneck", "perceiver"]
LATE = ["logit-weights", "product-of-experts", "majority-vote", "qmf", "evidential"]
NAMES = [*PLAIN, *GATES, *TOKENS, *LATE, *PRODUCTS, "concat", "mean", "updown-concat", "updown-mean"]
VIEW_SETS = [{"face": 6}, {"face": 6, "eye": 6}, {f"view{number}": 3 + number % 4 for number in range(12)}]
CLASSES = 5


def component(name: str) -> type[Fusion]:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["fusionkit.fusions"]
    loaded: type[Fusion] = EntryPoint(name, points[name], "fusionkit.fusions").load()
    return loaded


CASES = [
    pytest.param(name, dims, options, id=f"{name}-{len(dims)}views-{number}")
    for name in NAMES
    for number, options in enumerate(component(name).examples)
    for dims in VIEW_SETS
]


def build(name: str, dims: dict[str, int], options: dict[str, Any]) -> Fusion:
    torch.manual_seed(0)
    model = component(name)(dims, CLASSES, **options)
    model.attach_head()
    return model.eval()


def batch(model: Fusion, rows: int = 9) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    shape = (rows, model.token_count) if model.needs == "tokens" else (rows,)
    return {name: torch.randn(*shape, dim, generator=generator) for name, dim in model.in_dims.items()}


def holes(dims: dict[str, int], rows: int = 9) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    present = {name: torch.rand(rows, generator=generator) < 0.5 for name in dims}
    for here in present.values():
        here[0] = False
    return present


@pytest.mark.parametrize(("name", "dims", "options"), CASES)
def test_a_row_alone_is_the_row_in_a_batch_and_the_order_of_the_given_views_does_not_matter(
    name: str, dims: dict[str, int], options: dict[str, Any]
) -> None:
    model, present = build(name, dims, options), holes(dims)
    x = batch(model)
    whole = model(x, present).logits
    assert whole.shape == (9, CLASSES)
    for row in range(9):
        one = slice(row, row + 1)
        alone = model({view: x[view][one] for view in reversed(dims)}, {view: present[view][one] for view in dims})
        torch.testing.assert_close(alone.logits, whole[one], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole[:1], whole[1:])


@pytest.mark.parametrize(("name", "dims", "options"), CASES)
def test_the_content_of_an_absent_auxiliary_view_matters_only_where_it_is_imputed(
    name: str, dims: dict[str, int], options: dict[str, Any]
) -> None:
    model, present = build(name, dims, options), holes(dims)
    x = batch(model)
    garbage = {
        view: value
        if view == model.main
        else torch.where(present[view].view(-1, *[1] * (value.ndim - 1)), value, 1e3 * value + 7)
        for view, value in x.items()
    }
    logits, spoilt = model(x, present).logits, model(garbage, present).logits
    if model.missing == "masked" or name == "linear" or len(dims) == 1:
        assert torch.equal(logits, spoilt)
    else:
        assert not torch.allclose(logits, spoilt)
        assert torch.equal(logits, model(x).logits)


@pytest.mark.parametrize(("name", "dims", "options"), CASES)
def test_nothing_given_is_changed_and_float64_stays_float64(
    name: str, dims: dict[str, int], options: dict[str, Any]
) -> None:
    model, present = build(name, dims, options), holes(dims)
    x = {view: value.double() for view, value in batch(model).items()}
    single = model({view: value.float() for view, value in x.items()}, present).logits
    before = {view: value.clone() for view, value in x.items()}, {view: here.clone() for view, here in present.items()}
    logits = model.double()(x, present).logits
    assert logits.dtype == torch.float64
    torch.testing.assert_close(logits.float(), single, rtol=1e-4, atol=1e-5)
    for given, kept in zip((x, present), before, strict=True):
        assert list(given) == list(kept)
        assert all(torch.equal(given[view], kept[view]) for view in kept)


@pytest.mark.parametrize(("name", "dims", "options"), CASES)
def test_a_head_restored_from_its_state_gives_the_same_logits(
    name: str, dims: dict[str, int], options: dict[str, Any]
) -> None:
    model, present = build(name, dims, options), holes(dims)
    x = batch(model)
    torch.manual_seed(99)
    other = component(name)(dims, CLASSES, **options)
    other.attach_head()
    other.eval()
    logits = model(x, present).logits
    assert not torch.allclose(other(x, present).logits, logits)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x, present).logits, logits)


@pytest.mark.parametrize(("name", "dims", "options"), CASES)
def test_the_loss_reaches_every_view_and_every_parameter(
    name: str, dims: dict[str, int], options: dict[str, Any]
) -> None:
    model = build(name, dims, options).double()
    x = {view: value.double().requires_grad_() for view, value in batch(model, 40).items()}
    model.loss(model(x), torch.arange(40) % CLASSES).backward()
    for view, value in x.items():
        unread = name == "linear" and view != model.main
        assert (value.grad is None) if unread else bool((value.grad != 0).any()), view
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        # A constant added to every key adds the same to every score of a query, which the softmax takes out again.
        shift = parameter.startswith("attention.") and parameter.endswith("key.bias")
        assert (value.grad.abs().max() < 1e-12) if shift else bool((value.grad != 0).any()), parameter


@pytest.mark.parametrize("name", [name for name in NAMES if name != "majority-vote"])  # votes have no slope
def test_gradients_agree_with_finite_differences_where_views_are_missing(name: str) -> None:
    dims = {"face": 3, "eye": 2, "mouth": 3}
    options = component(name).examples[-1] | ({"dropout": 0.0} if name == "mlp" else {})
    model, present = build(name, dims, options).double(), holes(dims, 4)
    values = tuple(value.double().requires_grad_() for value in batch(model, 4).values())

    def logits(*given: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = model(dict(zip(dims, given, strict=True)), present).logits
        return out

    assert torch.autograd.gradcheck(logits, values)
