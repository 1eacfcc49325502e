"""The plain fusions against NumPy, frame by frame, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit.contracts import Fusion
from fusionkit_fusions.late import LogitMean
from fusionkit_fusions.linear import Linear
from fusionkit_fusions.mlp import Mlp
from fusionkit_fusions.plain import PlainConcat, PlainMax, PlainMean

Arrays = dict[str, np.ndarray]
CLASSES = 4
ROWS = 6
dims_of_views = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(
    lambda sizes: {f"v{i}": d for i, d in enumerate(sizes)}
)
seeds = st.integers(0, 1000)


def affine(weights: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def run(kind: type[Fusion], dims: dict[str, int], seed: int, **options: Any) -> tuple[Fusion, Arrays, Arrays, Arrays]:
    """The fusion, its weights, its views and their presence; the first frame has no view."""
    torch.manual_seed(seed)
    model = kind(dims, CLASSES, **options)
    model.attach_head()
    model.double().eval()
    rng = np.random.default_rng(seed)
    views = {name: rng.normal(size=(ROWS, dim)) for name, dim in dims.items()}
    present = {name: (rng.random(ROWS) < 0.6) & (np.arange(ROWS) > 0) for name in dims}
    return model, {name: value.numpy() for name, value in model.state_dict().items()}, views, present


def logits_of(model: Fusion, views: Arrays, present: Arrays) -> np.ndarray:
    out = model(
        {name: torch.from_numpy(value) for name, value in views.items()},
        {name: torch.from_numpy(here) for name, here in present.items()},
    )
    values: np.ndarray = out.logits.detach().numpy()
    return values


def read_views(present: Arrays, row: int) -> list[str]:
    return [name for name, here in present.items() if here[row]] or [next(iter(present))]


@settings(max_examples=examples(25))
@given(dims_of_views, seeds)
def test_linear_is_a_linear_layer_on_the_main_view(dims: dict[str, int], seed: int) -> None:
    model, w, views, present = run(Linear, dims, seed)
    expected = [affine(w, "head", x) for x in views["v0"]]
    np.testing.assert_allclose(logits_of(model, views, present), expected, rtol=1e-10, atol=1e-12)
    assert sum(value.size for value in w.values()) == CLASSES * (dims["v0"] + 1)


@settings(max_examples=examples(25))
@given(dims_of_views, seeds)
def test_plain_concat_is_a_linear_layer_on_the_concatenated_views(dims: dict[str, int], seed: int) -> None:
    model, w, views, present = run(PlainConcat, dims, seed)
    expected = [affine(w, "head", np.concatenate([views[name][row] for name in dims])) for row in range(ROWS)]
    np.testing.assert_allclose(logits_of(model, views, present), expected, rtol=1e-10, atol=1e-12)
    assert sum(value.size for value in w.values()) == CLASSES * (sum(dims.values()) + 1)


@pytest.mark.parametrize(("kind", "pool"), [(PlainMean, np.mean), (PlainMax, np.max)])
@settings(max_examples=examples(25))
@given(dims_of_views, seeds, st.sampled_from([None, 3]))
def test_plain_mean_and_max_pool_the_present_views(
    kind: type[Fusion], pool: Any, dims: dict[str, int], seed: int, width: int | None
) -> None:
    model, w, views, present = run(kind, dims, seed, width=width)
    projected = width is not None or len(set(dims.values())) > 1
    assert ("project.0.weight" in w) == projected
    expected = []
    for row in range(ROWS):
        read = [
            affine(w, f"project.{list(dims).index(name)}", views[name][row]) if projected else views[name][row]
            for name in read_views(present, row)
        ]
        expected.append(affine(w, "head", pool(read, axis=0)))
    np.testing.assert_allclose(logits_of(model, views, present), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@settings(max_examples=examples(15))
@given(dims_of_views, seeds)
def test_mlp_is_one_hidden_layer_on_the_concatenated_views(activation: str, dims: dict[str, int], seed: int) -> None:
    model, w, views, present = run(Mlp, dims, seed, hidden=7, activation=activation)
    expected = []
    for row in range(ROWS):
        inner = affine(w, "hidden.0", np.concatenate([views[name][row] for name in dims]))
        active = [max(x, 0.0) if activation == "relu" else x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in inner]
        expected.append(affine(w, "head", np.array(active)))
    np.testing.assert_allclose(logits_of(model, views, present), expected, rtol=1e-10, atol=1e-12)
    assert sum(value.size for value in w.values()) == 7 * (sum(dims.values()) + 1) + CLASSES * 8


def test_mlp_is_a_relu_layer_of_256_by_default_and_drops_hidden_units_only_while_training() -> None:
    plain = Mlp({"face": 3}, CLASSES)
    assert [str(layer) for layer in plain.hidden] == [
        "Linear(in_features=3, out_features=256, bias=True)",
        "ReLU()",
    ]
    model = Mlp({"face": 3}, CLASSES, hidden=2000, dropout=0.25)
    model.attach_head()
    x = {"face": torch.randn(1, 3)}
    kept = model.eval()(x).embedding
    torch.manual_seed(0)
    dropped = model.train()(x).embedding
    active = kept[0] > 0
    lost = active & (dropped[0] == 0)
    torch.testing.assert_close(dropped[0][~lost], kept[0][~lost] / 0.75)
    assert 0.2 < (lost.sum() / active.sum()).item() < 0.3


@settings(max_examples=examples(25))
@given(dims_of_views, seeds)
def test_logit_mean_averages_the_logits_of_the_present_views(dims: dict[str, int], seed: int) -> None:
    model, w, views, present = run(LogitMean, dims, seed)
    single = {
        name: np.array([affine(w, f"classifiers.{index}", x) for x in views[name]]) for index, name in enumerate(dims)
    }
    expected = [np.mean([single[name][row] for name in read_views(present, row)], axis=0) for row in range(ROWS)]
    np.testing.assert_allclose(logits_of(model, views, present), expected, rtol=1e-10, atol=1e-12)
    given_views = {name: torch.from_numpy(value) for name, value in views.items()}
    view_logits = model(given_views).view_logits
    assert view_logits is not None
    assert list(view_logits) == list(dims)
    for name, value in view_logits.items():
        np.testing.assert_allclose(value.detach().numpy(), single[name], rtol=1e-10, atol=1e-12)
    assert sum(value.size for value in w.values()) == CLASSES * sum(dim + 1 for dim in dims.values())
