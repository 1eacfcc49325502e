"""Gated, modulating and multiplying fusions against NumPy written from their equations, frame by frame, in float64."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fusionkit.contracts import Fusion
from fusionkit_fusions.aff import Aff, IterativeAff, MsCam
from fusionkit_fusions.film import Film
from fusionkit_fusions.gated import Gated
from fusionkit_fusions.hadamard import Hadamard
from fusionkit_fusions.low_rank import LowRank
from fusionkit_fusions.mutan import Mutan
from fusionkit_fusions.plain import PlainSum
from fusionkit_fusions.squeeze_excitation import SqueezeExcitation
from fusionkit_fusions.tensor_fusion import TensorFusion
from fusionkit_fusions.weighted_mean import WeightedMean

Arrays = dict[str, np.ndarray]
DIMS = [{"face": 5, "eye": 4, "mouth": 3}, {"face": 4, "eye": 4}, {"face": 3}]
CLASSES = 4
ROWS = 7


class Frame:
    """One frame as the equations see it: the views that are there, and the learned arrays by name."""

    def __init__(self, weights: Arrays, views: Arrays, present: dict[str, bool]) -> None:
        self.w, self.views, self.present = weights, views, present
        self.names = list(views)

    def affine(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.w[f"{name}.weight"] @ x + self.w[f"{name}.bias"]

    def normed(self, name: str, x: np.ndarray) -> np.ndarray:
        mean, var = self.w[f"{name}.running_mean"], self.w[f"{name}.running_var"]
        return (x - mean) / np.sqrt(var + 1e-5) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    @property
    def read(self) -> list[str]:
        return [name for name in self.names if self.present[name]] or self.names[:1]

    @property
    def guides(self) -> list[str]:
        return [name for name in self.names[1:] if self.present[name]]

    def projected(self, name: str) -> np.ndarray:
        if "project.0.weight" not in self.w:
            return self.views[name]
        return self.affine(f"project.{self.names.index(name)}", self.views[name])

    def hidden(self, name: str) -> np.ndarray:
        return self.affine(f"hidden.{self.names.index(name)}", self.views[name])

    def attention(self, name: str, x: np.ndarray) -> np.ndarray:
        total: Any = 0.0
        for branch in ("local_branch", "global_branch"):
            inner = np.maximum(self.normed(f"{name}.{branch}.1", self.affine(f"{name}.{branch}.0", x)), 0)
            total = total + self.normed(f"{name}.{branch}.4", self.affine(f"{name}.{branch}.3", inner))
        return sigmoid(total)

    def pair(self) -> tuple[np.ndarray, np.ndarray]:
        main = self.projected(self.names[0])
        return main, np.mean([self.projected(name) for name in self.guides], axis=0) if self.guides else main


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def summed(f: Frame, options: dict[str, Any]) -> np.ndarray:
    return np.asarray(sum(f.projected(name) for name in f.read))


def weighted(f: Frame, options: dict[str, Any]) -> np.ndarray:
    scores = {name: float(f.w["scores"][i]) if "scores" in f.w else 0.0 for i, name in enumerate(f.names)}
    weights = np.exp([scores[name] for name in f.read])
    return np.asarray(sum(w * f.projected(name) for w, name in zip(weights / weights.sum(), f.read, strict=True)))


def gated(f: Frame, options: dict[str, Any]) -> np.ndarray:
    width = options["width"]
    if "gates.weight" not in f.w:
        return np.tanh(f.hidden(f.names[0]))
    seen = np.concatenate([f.views[name] * (name in f.read) for name in f.names])
    scores = dict(zip(f.names, f.affine("gates", seen).reshape(-1, width), strict=True))
    if options.get("gate") == "sigmoid":
        return np.asarray(sum(sigmoid(scores[name]) * np.tanh(f.hidden(name)) for name in f.read))
    total = sum(np.exp(scores[name]) for name in f.read)
    return np.asarray(sum(np.exp(scores[name]) / total * np.tanh(f.hidden(name)) for name in f.read))


def film(f: Frame, options: dict[str, Any]) -> np.ndarray:
    main, auxiliary = f.pair()
    if not f.guides:
        return main
    source, target = (auxiliary, main) if options.get("by") == "auxiliary" else (main, auxiliary)
    gamma, beta = np.split(f.affine("modulate", source), 2)
    return (1 + gamma) * target + beta + (0.0 if options.get("by") == "auxiliary" else main)


def squeeze_excitation(f: Frame, options: dict[str, Any]) -> np.ndarray:
    joint = np.concatenate([f.projected(name) * (name in f.read) for name in f.names])
    narrow = np.maximum(f.affine("squeeze.0", joint), 0)
    return joint * 2 * sigmoid(f.affine("excite", narrow))


def ms_cam(f: Frame, options: dict[str, Any]) -> np.ndarray:
    mean = np.mean([f.projected(name) for name in f.read], axis=0)
    return mean * f.attention("attention", mean)


def aff(f: Frame, options: dict[str, Any]) -> np.ndarray:
    main, auxiliary = f.pair()
    if len(f.names) == 1:
        return main
    w = f.attention("attention", main + auxiliary)
    return w * main + (1 - w) * auxiliary


def iaff(f: Frame, options: dict[str, Any]) -> np.ndarray:
    main, auxiliary = f.pair()
    if len(f.names) == 1:
        return main
    first = f.attention("first", main + auxiliary)
    w = f.attention("attention", first * main + (1 - first) * auxiliary)
    return w * main + (1 - w) * auxiliary


def hadamard(f: Frame, options: dict[str, Any]) -> np.ndarray:
    return np.prod([np.tanh(f.hidden(name)) for name in f.read], axis=0)


def low_rank(f: Frame, options: dict[str, Any]) -> np.ndarray:
    """The full weight tensor is built from its factors and contracted with the full outer product."""
    rank, width = options["rank"], options["width"]
    ones = [np.append(f.views[name] * (name in f.read), 1.0) for name in f.names]
    out = f.w["bias"].copy()
    for r, column in product(range(rank), range(width)):
        weight = outer([f.w[f"factors.{i}"][:, r * width + column] for i in range(len(f.names))])
        out[column] += f.w["weights"][r] * (weight * outer(ones)).sum()
    return out


def outer(vectors: list[np.ndarray]) -> np.ndarray:
    found = vectors[0]
    for vector in vectors[1:]:
        found = np.multiply.outer(found, vector)
    return found


def tensor(f: Frame, options: dict[str, Any]) -> np.ndarray:
    ones = [np.append(np.maximum(f.hidden(name), 0) * (name in f.read), 1.0) for name in f.names]
    return outer(ones).ravel()


def mutan(f: Frame, options: dict[str, Any]) -> np.ndarray:
    terms = []
    for r in range(options["rank"]):
        part = slice(r * options["out_width"], (r + 1) * options["out_width"])
        factors = [f.affine(f"slices.{f.names.index(name)}", np.tanh(f.hidden(name)))[part] for name in f.read]
        terms.append(np.prod(factors, axis=0))
    return np.sum(terms, axis=0)


CASES = [
    (PlainSum, {}, summed),
    (WeightedMean, {"width": 6}, weighted),
    (Gated, {"width": 6}, gated),
    (Gated, {"width": 6, "gate": "sigmoid"}, gated),
    (Film, {"width": 6}, film),
    (Film, {"width": 6, "by": "auxiliary"}, film),
    (SqueezeExcitation, {"width": 6, "ratio": 3}, squeeze_excitation),
    (MsCam, {"width": 6, "ratio": 2}, ms_cam),
    (Aff, {"width": 6, "ratio": 2}, aff),
    (IterativeAff, {"width": 6, "ratio": 2}, iaff),
    (Hadamard, {"width": 6}, hadamard),
    (LowRank, {"rank": 3, "width": 5}, low_rank),
    (TensorFusion, {"width": 3}, tensor),
    (Mutan, {"width": 5, "out_width": 6, "rank": 3}, mutan),
]


@pytest.mark.parametrize("dims", DIMS, ids=lambda dims: f"{len(dims)}views")
@pytest.mark.parametrize(("kind", "options", "expected"), CASES)
def test_a_fusion_computes_its_equation(
    kind: type[Fusion], options: dict[str, Any], expected: Any, dims: dict[str, int]
) -> None:
    torch.manual_seed(len(dims))
    model = kind(dims, CLASSES, **options).double().eval()
    rng = np.random.default_rng(5)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.dtype == torch.float64:  # nothing stays at the zeros and ones it may start from
                value.copy_(torch.from_numpy(np.abs(rng.normal(size=tuple(value.shape))) + 0.1))
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=tuple(parameter.shape))))
    views = {name: rng.normal(size=(ROWS, dim)) for name, dim in dims.items()}
    present = {name: (rng.random(ROWS) < 0.6) & (np.arange(ROWS) > 0) for name in dims}
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    joint = model.fuse(
        {name: torch.from_numpy(value) for name, value in views.items()},
        {name: torch.from_numpy(here) for name, here in present.items()},
    )
    assert isinstance(joint, torch.Tensor)
    for row in range(ROWS):
        frame = Frame(weights, {name: views[name][row] for name in dims}, {name: present[name][row] for name in dims})
        np.testing.assert_allclose(joint[row].detach().numpy(), expected(frame, options), rtol=1e-9, atol=1e-12)


def test_a_gate_of_two_views_is_the_bimodal_unit() -> None:
    torch.manual_seed(0)
    model = Gated({"face": 3, "eye": 2}, CLASSES, width=4).double()
    x, y = torch.randn(1, 3, dtype=torch.float64), torch.randn(1, 2, dtype=torch.float64)
    there = torch.ones(1, dtype=torch.bool)
    assert isinstance(model.gates, nn.Linear)
    difference = model.gates(torch.cat([x, y], 1)).view(2, 4)
    z = torch.sigmoid(difference[0] - difference[1])
    expected = z * torch.tanh(model.hidden[0](x)) + (1 - z) * torch.tanh(model.hidden[1](y))
    torch.testing.assert_close(model.fuse({"face": x, "eye": y}, {"face": there, "eye": there}), expected)


@pytest.mark.parametrize("views", [2, 3, 12])
def test_a_low_rank_fusion_trains_every_factor_and_starts_at_a_sensible_scale(views: int) -> None:
    dims = {f"v{number}": 32 for number in range(views)}
    torch.manual_seed(1)
    model = LowRank(dims, CLASSES)
    model.attach_head()
    x = {name: torch.randn(200, 32) for name in dims}
    before = [parameter.detach().clone() for parameter in model.parameters()]
    output = model(x)
    assert output.embedding is not None
    assert 0.1 < output.embedding.std().item() < 10
    model.loss(output, torch.arange(200) % CLASSES).backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    assert len(before) == views + 2 + 2  # factors, weights and bias, the head
    for old, new in zip(before, model.parameters(), strict=True):
        assert not torch.equal(old, new)


def test_the_outer_product_is_kept_small() -> None:
    widths = {
        views: TensorFusion({f"v{i}": 2 for i in range(views)}, CLASSES).hidden[0].out_features
        for views in (1, 2, 3, 12)
    }
    assert widths == {1: 64, 2: 63, 3: 15, 12: 1}
