"""Fusions on tokens, and attention over regions, against attention written out in NumPy, frame by frame, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from fusionkit.contracts import Fusion
from fusionkit.errors import ConfigError
from fusionkit_fusions.attention_pool import AttentionPool
from fusionkit_fusions.bottleneck import Bottleneck
from fusionkit_fusions.cross_attention import CrossAttention
from fusionkit_fusions.mixture_of_experts import MixtureOfExperts
from fusionkit_fusions.perceiver import Perceiver
from fusionkit_fusions.region_attention import RegionAttention
from fusionkit_fusions.self_attention import SelfAttention

Arrays = dict[str, np.ndarray]
DIMS = {"face": 5, "eye": 4, "mouth": 3}
K, CLASSES, ROWS = 3, 4, 6
SMALL = {"width": 8, "heads": 2, "token_count": K}


class Written:
    """Layers by their equations, on one frame, from the weights of a module."""

    def __init__(self, weights: Arrays, heads: int = 2) -> None:
        self.w, self.heads = weights, heads

    def affine(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return np.asarray(scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"])

    def attend(self, name: str, queries: np.ndarray, values: np.ndarray) -> np.ndarray:
        width = queries.shape[1]
        q, k, v = (
            x @ weight.T + bias
            for x, weight, bias in zip(
                (queries, values, values),
                np.split(self.w[f"{name}.in_proj_weight"], 3),
                np.split(self.w[f"{name}.in_proj_bias"], 3),
                strict=True,
            )
        )
        size = width // self.heads
        found = np.empty_like(queries)
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
            found[:, part] = scores / scores.sum(1, keepdims=True) @ v[:, part]
        return self.affine(f"{name}.out_proj", found)

    def transformer(self, name: str, x: np.ndarray) -> np.ndarray:
        seen = self.norm(f"{name}.norm1", x)
        x = x + self.attend(f"{name}.self_attn", seen, seen)
        inner = gelu(self.affine(f"{name}.linear1", self.norm(f"{name}.norm2", x)))
        return np.asarray(x + self.affine(f"{name}.linear2", inner))


def gelu(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2)


def tokens(f: Written, views: Arrays) -> list[np.ndarray]:
    return [f.affine(f"project.{index}", views[name]) for index, name in enumerate(views)]


def cross(f: Written, views: Arrays, read: list[int]) -> np.ndarray:
    plain = tokens(f, views)
    marked = [f.norm("norm", x + f.w["marks"][index]) for index, x in enumerate(plain)]
    guides = [index for index in read if index] or [0]
    guided = plain[0] + f.attend("attention", marked[0], np.concatenate([marked[index] for index in guides]))
    inner = gelu(f.affine("forward_layer.1", f.norm("forward_layer.0", guided)))
    return np.asarray((guided + f.affine("forward_layer.3", inner)).mean(0))


def self_attention(f: Written, views: Arrays, read: list[int]) -> np.ndarray:
    marked = [x + f.w["marks"][index] for index, x in enumerate(tokens(f, views))]
    sequence = np.concatenate([f.w["summary"][0], *(marked[index] for index in read)])
    for layer in range(2):
        sequence = f.transformer(f"layers.{layer}", sequence)
    return f.norm("norm", sequence[0])


def bottleneck(f: Written, views: Arrays, read: list[int]) -> np.ndarray:
    plain = tokens(f, views)
    own = {index: np.concatenate([f.w["summaries"][index], plain[index]]) for index in read}
    shared = f.w["shared"][0]
    for layer in range(2):
        seen = {index: f.transformer(f"layers.{layer}.{index}", np.concatenate([own[index], shared])) for index in read}
        own = {index: values[: K + 1] for index, values in seen.items()}
        shared = np.mean([values[K + 1 :] for values in seen.values()], axis=0)
    return np.asarray(np.mean([f.norm("norm", values[0]) for values in own.values()], axis=0))


def perceiver(f: Written, views: Arrays, read: list[int]) -> np.ndarray:
    marked = [f.norm("norm_tokens", x + f.w["marks"][index]) for index, x in enumerate(tokens(f, views))]
    latents = f.w["latents"][0]
    keys = np.concatenate([marked[index] for index in read])
    latents = latents + f.attend("read", f.norm("norm_latents", latents), keys)
    return np.asarray(f.norm("norm", f.transformer("layers.0", latents)).mean(0))


def region_attention(f: Written, views: Arrays, read: list[int]) -> np.ndarray:
    features = tokens(f, views)
    alone = {index: sigmoid(f.affine("self_attention", features[index])) for index in read}
    mean = sum(alone[index] * features[index] for index in read) / sum(alone.values())
    pairs = {index: np.concatenate([features[index], mean]) for index in read}
    both = {index: alone[index] * sigmoid(f.affine("relation_attention", pairs[index])) for index in read}
    return np.asarray(sum(both[index] * pairs[index] for index in read) / sum(both.values()))


def experts(f: Written, views: Arrays, read: list[int], top: int = 3) -> np.ndarray:
    outputs = [np.maximum(f.affine(f"experts.{index}", x), 0) for index, x in enumerate(views.values())]
    seen = np.concatenate([x * (index in read) for index, x in enumerate(views.values())])
    scores = np.exp(f.affine("router", seen))
    used = sorted(read, key=lambda index: -scores[index])[:top]
    return np.asarray(sum(scores[index] * outputs[index] for index in used) / sum(scores[index] for index in used))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


CASES = [
    (CrossAttention, SMALL, cross),
    (SelfAttention, {**SMALL, "depth": 2}, self_attention),
    (Bottleneck, {**SMALL, "bottlenecks": 2}, bottleneck),
    (Perceiver, {**SMALL, "latents": 4}, perceiver),
    (RegionAttention, {"width": 6}, region_attention),
    (MixtureOfExperts, {"width": 6}, experts),
    (MixtureOfExperts, {"width": 6, "top": 2}, lambda f, views, read: experts(f, views, read, 2)),
]


@pytest.mark.parametrize(("kind", "options", "expected"), CASES)
def test_a_fusion_computes_its_equation(kind: type[Fusion], options: dict[str, Any], expected: Any) -> None:
    torch.manual_seed(1)
    model = kind(DIMS, CLASSES, **options).double().eval()
    rng = np.random.default_rng(5)
    with torch.no_grad():
        for parameter in model.parameters():  # nothing stays at the zeros and ones it may start from
            parameter.copy_(torch.from_numpy(rng.normal(size=tuple(parameter.shape)) * 0.7))
    lead = (ROWS, K) if model.needs == "tokens" else (ROWS,)
    views = {name: rng.normal(size=(*lead, dim)) for name, dim in DIMS.items()}
    present = {name: (rng.random(ROWS) < 0.6) & (np.arange(ROWS) > 0) for name in DIMS}
    joint = model.fuse(
        {name: torch.from_numpy(value) for name, value in views.items()},
        {name: torch.from_numpy(here) for name, here in present.items()},
    )
    assert isinstance(joint, torch.Tensor)
    written = Written({name: value.numpy() for name, value in model.state_dict().items()})
    for row in range(ROWS):
        read = [index for index, name in enumerate(DIMS) if present[name][row]] or [0]
        found = expected(written, {name: views[name][row] for name in DIMS}, read)
        np.testing.assert_allclose(joint[row].detach().numpy(), found, rtol=1e-8, atol=1e-10)


def test_the_region_biased_loss_grows_while_no_region_outweighs_the_face() -> None:
    torch.manual_seed(0)
    dims = {"face": 4, "eye": 4, "mouth": 4}
    model = RegionAttention(dims, CLASSES, region_bias=2.0, margin=0.3)
    model.attach_head()
    x = {name: torch.randn(5, 4) for name in dims}
    target = torch.arange(5) % CLASSES
    model.train()
    output = model(x)
    assert output.logits is not None
    layer = model.self_attention
    assert layer is not None
    alone = {name: sigmoid(layer(value).detach().numpy()[:, 0]) for name, value in x.items()}
    lacking = [max(0.0, 0.3 - (max(e, m) - f)) for f, e, m in zip(*alone.values(), strict=True)]
    plain = torch.nn.functional.cross_entropy(output.logits, target)
    torch.testing.assert_close(model.loss(output, target), plain + 2.0 * float(np.mean(lacking)))


def test_attention_pool_reads_all_places_of_the_present_views_by_their_mean() -> None:
    torch.manual_seed(0)
    model = AttentionPool(DIMS, CLASSES, width=8, heads=2)
    model.attach_head()
    model.double().eval()
    generator = torch.Generator().manual_seed(1)
    grids = {"face": (3, 2), "eye": (1, 4), "mouth": (1, 1)}
    views = {
        name: torch.randn(ROWS, *grids[name], dim, generator=generator, dtype=torch.float64)
        for name, dim in DIMS.items()
    }
    present = {name: torch.arange(ROWS) % (2 + index) != 1 for index, name in enumerate(DIMS)}
    present["face"][4] = present["eye"][4] = present["mouth"][4] = False  # the main view stands in
    with torch.no_grad():
        found = model(views, present).embedding.numpy()
    written = Written({name: value.numpy() for name, value in model.state_dict().items()})
    waves = [math.pi, math.pi * 2**4]
    for row in range(ROWS):
        there = [name for name in DIMS if present[name][row]] or ["face"]
        tokens = []
        for name in there:
            index = list(DIMS).index(name)
            rows, columns = grids[name]
            for y, x in np.ndindex(rows, columns):
                at = [(place + 0.5) / count for place, count in ((y, rows), (x, columns))]
                mark = [turn(wave * where) for where in at for turn in (math.sin, math.cos) for wave in waves]
                place = written.affine(f"project.{index}", views[name][row, y, x].numpy())
                tokens.append(written.norm("norm", place + written.w["marks"][index] + np.array(mark)))
        own = np.stack(tokens)
        np.testing.assert_allclose(found[row], written.attend("attention", own.mean(0)[None], own)[0], atol=1e-10)


@pytest.mark.parametrize(("width", "heads"), [(6, 2), (8, 3)])
def test_attention_pool_refuses_a_width_that_its_parts_do_not_divide(width: int, heads: int) -> None:
    with pytest.raises(ConfigError, match=f"width = {width} must be a multiple of 4 and heads = {heads}"):
        AttentionPool(DIMS, CLASSES, width, heads)
