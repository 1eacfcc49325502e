"""The well-scaled block against NumPy, token by token, and its attention at initialisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from fusionkit_emotic.attention_fusions import Concat
from fusionkit_emotic.scaled_attention import ScaledAttention

DIMS = {"face": 5, "eye": 4, "mouth": 3}
CLASSES, ROWS = 4, 6
Arrays = dict[str, np.ndarray]


def affine(w: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def norm(w: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return np.asarray((x - x.mean()) / math.sqrt(x.var() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"])


def expected(w: Arrays, views: Arrays, here: dict[str, bool], token_width: int) -> np.ndarray:
    names = list(views)
    h = [norm(w, f"norms.{i}", affine(w, f"project.{i}", views[name])) for i, name in enumerate(names)]
    joint = np.concatenate([h[0], *(vector * here[name] for vector, name in zip(h[1:], names[1:], strict=True))])
    key, value = affine(w, "key", joint).reshape(-1, token_width), affine(w, "value", joint).reshape(-1, token_width)
    key = key / np.linalg.norm(key, axis=1, keepdims=True)
    answers = []
    for vector, name in zip(h[1:], names[1:], strict=True) if len(names) > 1 else [(h[0], names[0])]:
        if len(names) > 1 and not here[name]:
            continue
        answer = []
        for query in affine(w, "query", vector).reshape(-1, token_width):
            scores = np.exp(w["temperature"] * key @ (query / np.linalg.norm(query)))
            answer.append(scores / scores.sum() @ value)
        answers.append(affine(w, "out", np.concatenate(answer)))
    z = norm(w, "hidden.0", h[0] + (np.mean(answers, axis=0) if answers else 0.0))
    inner = affine(w, "hidden.1", z)
    return np.array([x * (1 + math.erf(x / math.sqrt(2))) / 2 for x in inner])


@pytest.mark.parametrize("dims", [DIMS, {"face": 5, "eye": 5}, {"face": 3}], ids=len)
def test_the_block_computes_its_formulas(dims: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = ScaledAttention(dims, CLASSES, width=8, hidden=6, token_width=2, temperature=3.0).double().eval()
    rng = np.random.default_rng(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=tuple(parameter.shape))))
    views = {name: rng.normal(size=(ROWS, dim)) for name, dim in dims.items()}
    present = {name: (rng.random(ROWS) < 0.6) & (np.arange(ROWS) > 0) for name in dims}
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    joint = model.fuse(
        {name: torch.from_numpy(value) for name, value in views.items()},
        {name: torch.from_numpy(here) for name, here in present.items()},
    )
    for row in range(ROWS):
        one = expected(
            weights, {name: views[name][row] for name in dims}, {name: bool(present[name][row]) for name in dims}, 2
        )
        np.testing.assert_allclose(joint[row].detach().numpy(), one, rtol=1e-9, atol=1e-12)


def test_the_auxiliary_view_matters_from_the_start_where_in_the_released_block_it_hardly_does() -> None:
    """How far the joint embedding moves when the auxiliary view is another frame's, in its own standard deviations."""
    dims = {"face": 64, "eye": 64}
    moved = {}
    for name, kind, options in (("released", Concat, {"width": 64}), ("scaled", ScaledAttention, {"width": 64})):
        torch.manual_seed(0)
        model: Any = kind(dims, 8, **options)
        model.attach_head()
        views = {view: torch.randn(400, 64) for view in dims}
        with torch.no_grad():
            own = model(views).logits
            other = model({"face": views["face"], "eye": views["eye"].roll(1, 0)}).logits
        moved[name] = ((own - other).std() / own.std()).item()
    assert moved["released"] < 0.05
    assert moved["scaled"] > 0.3
