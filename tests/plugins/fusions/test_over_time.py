"""Fusions over time against NumPy written from their equations, frame by frame, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fusionkit.contracts import ClipFusion
from fusionkit.contracts.fusion import Windows
from fusionkit_fusions.gated_gru import GatedGru
from fusionkit_fusions.temporal_transformer import TemporalTransformer

Arrays = dict[str, np.ndarray]
DIMS = [{"face": 5, "eye": 4, "mouth": 3}, {"face": 4, "eye": 4}, {"face": 3}]
INDEX = [0, 0, 0, 0, 1, 2, 2, 2]
NUMBER = np.array([3, 4, 9, 10, 7, 1, 2, 40])
CLASSES = 4


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x - x.max())
    return weights / weights.sum()


def inputs(dims: dict[str, int]) -> tuple[Arrays, Arrays]:
    """Views and presence of eight frames; the third has no view, and the fifth lacks its main view."""
    rng = np.random.default_rng(1)
    views = {name: rng.normal(size=(8, dim)) for name, dim in dims.items()}
    present = {name: rng.random(8) < 0.7 for name in dims}
    for name, flags in present.items():
        flags[2], flags[4] = False, name != "face"
    return views, present


def drawn(model: ClipFusion) -> Arrays:
    """Random values in place of zeros and ones at the start; returns the learned arrays."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.double().eval()
    return {name: value.numpy() for name, value in model.state_dict().items()}


def embedding(model: ClipFusion, views: Arrays, present: Arrays) -> np.ndarray:
    with torch.no_grad():
        output = model.fuse_rows(
            {name: torch.from_numpy(value) for name, value in views.items()},
            {name: torch.from_numpy(value) for name, value in present.items()},
            Windows(torch.tensor(INDEX), torch.from_numpy(NUMBER)),
        )
    return output.embedding.numpy()


def read_of(present: Arrays, row: int) -> list[str]:
    names = list(present)
    return [name for name in names if present[name][row]] or names[:1]


def gated(w: Arrays, views: Arrays, present: Arrays, row: int) -> np.ndarray:
    """The gated multimodal unit of one frame."""
    names, read = list(views), read_of(present, row)
    hidden = {
        name: np.tanh(w[f"gated.hidden.{index}.weight"] @ views[name][row] + w[f"gated.hidden.{index}.bias"])
        for index, name in enumerate(names)
    }
    if len(names) == 1:
        return hidden[names[0]]
    x = np.concatenate([views[name][row] * (name in read) for name in names])
    scores = (w["gated.gates.weight"] @ x + w["gated.gates.bias"]).reshape(len(names), -1)
    weights = np.exp(scores) * np.array([[name in read] for name in names])
    return (weights / weights.sum(0) * np.stack([hidden[name] for name in names])).sum(0)


def gru(w: Arrays, suffix: str, inputs_in_order: list[np.ndarray]) -> list[np.ndarray]:
    """The states of a gated recurrent unit, by the equations of its reference."""
    state = np.zeros(w[f"recurrent.weight_hh_l0{suffix}"].shape[1])
    states = []
    for x in inputs_in_order:
        own = w[f"recurrent.weight_ih_l0{suffix}"] @ x + w[f"recurrent.bias_ih_l0{suffix}"]
        past = w[f"recurrent.weight_hh_l0{suffix}"] @ state + w[f"recurrent.bias_hh_l0{suffix}"]
        (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(own, 3), np.split(past, 3)
        reset, update = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
        state = (1 - update) * np.tanh(n_x + reset * n_h) + update * state
        states.append(state)
    return states


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dims", DIMS)
def test_gated_gru(dims: dict[str, int], causal: bool) -> None:
    torch.manual_seed(0)
    model = GatedGru(dims, CLASSES, width=6, causal=causal)
    w = drawn(model)
    views, present = inputs(dims)
    expected = []
    for window in range(3):
        rows = [row for row, index in enumerate(INDEX) if index == window]
        fused = [gated(w, views, present, row) for row in rows]
        gaps = [0, *[NUMBER[row] - NUMBER[row - 1] - 1 for row in rows[1:]]]
        x = [np.append(one, np.log(1 + gap)) for one, gap in zip(fused, gaps, strict=True)]
        states = [gru(w, "", x)]
        if not causal:
            states.append(gru(w, "_reverse", x[::-1])[::-1])
        expected += [np.concatenate([*each, one]) for *each, one in zip(*states, fused, strict=True)]
    np.testing.assert_allclose(embedding(model, views, present), expected, atol=1e-12)


def normed(w: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    centred = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return centred * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def layer(w: Arrays, name: str, tokens: list[np.ndarray], bias: np.ndarray, heads: int) -> list[np.ndarray]:
    """A pre-norm transformer layer, token by token; ``bias`` is (heads, queries, keys)."""

    def affine(part: str, x: np.ndarray) -> np.ndarray:
        return w[f"{name}.{part}.weight"] @ x + w[f"{name}.{part}.bias"]

    each = [np.split(affine("queries_keys_values", normed(w, f"{name}.norm", x)), 3) for x in tokens]
    queries, keys, values = ([np.split(part, heads) for part in kind] for kind in zip(*each, strict=True))
    out = []
    for at, x in enumerate(tokens):
        attended = []
        for head in range(heads):
            scores = np.array([queries[at][head] @ key[head] for key in keys]) / np.sqrt(len(x) / heads)
            weights = softmax(scores + bias[head, at])
            attended.append(sum(weight * value[head] for weight, value in zip(weights, values, strict=True)))
        added = x + affine("out", np.concatenate(attended))
        inner = gelu(affine("inner.0", normed(w, f"{name}.inner_norm", added)))
        out.append(added + affine("inner.2", inner))
    return out


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dims", DIMS)
def test_temporal_transformer(dims: dict[str, int], causal: bool) -> None:
    torch.manual_seed(0)
    heads = 2
    model = TemporalTransformer(dims, CLASSES, width=6, heads=heads, depth=2, causal=causal)
    w = drawn(model)
    views, present = inputs(dims)
    names = list(dims)
    expected = []
    for window in range(3):
        rows = [row for row, index in enumerate(INDEX) if index == window]
        keys = [(row, name) for row in rows for name in names]
        tokens = [
            w[f"project.{names.index(name)}.weight"] @ views[name][row]
            + w[f"project.{names.index(name)}.bias"]
            + w["marks"][names.index(name)]
            for row, name in keys
        ]
        bias = np.zeros((heads, len(keys), len(keys)))
        for query, (row, _) in enumerate(keys):
            for key, (other, name) in enumerate(keys):
                late = causal and NUMBER[other] > NUMBER[row]
                hidden = query != key and (late or name not in read_of(present, other))
                distance = abs(NUMBER[row] - NUMBER[other])
                for head in range(heads):  # slopes 2^-4 and 2^-8
                    bias[head, query, key] = -np.inf if hidden else -(2.0 ** (-4 * (head + 1))) * distance
        for depth in range(2):
            tokens = layer(w, f"layers.{depth}", tokens, bias, heads)
        by_key = dict(zip(keys, tokens, strict=True))
        expected += [
            normed(w, "norm", np.mean([by_key[row, name] for name in read_of(present, row)], axis=0)) for row in rows
        ]
    np.testing.assert_allclose(embedding(model, views, present), expected, atol=1e-10)
