"""The paper's block against NumPy written from its formulas, token by token, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fusionkit_emotic.attention_fusions import AttentionFusion, Concat, Mean, UpDownConcat, UpDownMean

KEYS: list[tuple[type[AttentionFusion], dict[str, Any]]] = [
    (Concat, {}),
    (Mean, {}),
    (Mean, {"linear": True}),
    (UpDownConcat, {}),
    (UpDownConcat, {"activation": "relu", "scope": "per_view", "ratio": 1.5}),
    (UpDownMean, {"ratio": 3}),
    (UpDownMean, {"activation": "none", "scope": "per_view"}),
]
VIEWS = {"face": 5, "eye": 7, "mouth": 5, "nose": 3}
CLASSES = 6
Arrays = dict[str, np.ndarray]


def affine(weights: Arrays, name: str, x: np.ndarray) -> np.ndarray:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def activate(name: str, x: np.ndarray) -> np.ndarray:
    if name == "gelu":
        return np.array([0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in x])
    return np.maximum(x, 0) if name == "relu" else x


def combine(how: str, vectors: list[np.ndarray], here: list[bool]) -> np.ndarray:
    if how == "concat":
        return np.concatenate(
            [vector if is_here else 0 * vector for vector, is_here in zip(vectors, here, strict=True)]
        )
    return np.mean([vector for vector, is_here in zip(vectors, here, strict=True) if is_here], axis=0)


def key_of(
    kind: type[AttentionFusion], options: dict[str, Any], w: Arrays, h: list[np.ndarray], here: list[bool]
) -> np.ndarray:
    if kind is Concat:
        return affine(w, "key.layer", combine("concat", h, here))
    if kind is Mean:
        mean = combine("mean", h, here)
        return affine(w, "key.layer", mean) if options.get("linear") else mean
    how, activation = "concat" if kind is UpDownConcat else "mean", options.get("activation", "gelu")
    if options.get("scope") == "per_view":
        up = [activate(activation, affine(w, f"key.up.{i}", vector)) for i, vector in enumerate(h)]
        return affine(w, "key.down", combine(how, up, here))
    return affine(w, "key.down", activate(activation, affine(w, "key.up", combine(how, h, here))))


def attend(
    w: Arrays, name: str, query: np.ndarray, key: np.ndarray, value: np.ndarray, width: int, window: int
) -> np.ndarray:
    q, k, v = (
        [affine(w, f"{name}.{part}", token) for token in x.reshape(-1, width)]
        for part, x in (("query", query), ("key", key), ("value", value))
    )
    out = []
    for i, query_token in enumerate(q):
        start = i // window * window
        near = range(start, start + window)
        scores = np.array([query_token @ k[j] / math.sqrt(width) for j in near])
        share = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        mixed = sum(weight * v[j] for weight, j in zip(share, near, strict=True))
        out.append(affine(w, f"{name}.out", mixed))
    return np.concatenate(out)


def reference_logits(
    model: AttentionFusion, options: dict[str, Any], views: dict[str, torch.Tensor], present: dict[str, torch.Tensor]
) -> np.ndarray:
    w = {name: value.double().numpy() for name, value in model.state_dict().items()}
    token_width = options.get("token_width", 1)
    tokens = options["width"] // token_width
    windows = {"self": [tokens], "local": [options.get("window")], "both": [tokens, options.get("window")]}
    rows = []
    for row in range(len(views["face"])):
        h = [affine(w, f"project.{i}", views[name][row].numpy()) for i, name in enumerate(model.in_dims)]
        here = [True, *(bool(present[name][row]) for name in model.auxiliary)]
        key = key_of(type(model), options, w, h, here)
        queries = [i for i in range(1, len(h)) if here[i]] if len(h) > 1 else [0]
        attended = [
            np.mean(
                [
                    attend(w, f"attention.{n}", h[i], key, h[0], token_width, window)
                    for n, window in enumerate(windows[options.get("attention", "self")])
                ],
                axis=0,
            )
            for i in queries
        ]
        z = np.mean(attended, axis=0) + h[0] if attended else h[0]
        rows.append(affine(w, "classifier.1", affine(w, "classifier.0", z)))
    return np.array(rows)


def build(kind: type[AttentionFusion], views: int, **options: Any) -> AttentionFusion:
    torch.manual_seed(views)
    model = kind(dict(list(VIEWS.items())[:views]), CLASSES, **options).double()
    with torch.no_grad():  # biases that start at zero would hide a mistake in them
        for value in model.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return model


def batch(model: AttentionFusion, rows: int = 7) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(rows, dim, dtype=torch.float64, generator=generator) for name, dim in model.in_dims.items()
    }


def holes(model: AttentionFusion, rows: int = 7) -> dict[str, torch.Tensor]:
    """Random presence with the first frame complete, the second without auxiliary views, the third without any."""
    generator = torch.Generator().manual_seed(2)
    present = {name: torch.rand(rows, generator=generator) < 0.6 for name in model.in_dims}
    for name, here in present.items():
        here[:3] = torch.tensor([True, name == model.main, False])
    return present


@pytest.mark.parametrize(("kind", "key"), KEYS)
@pytest.mark.parametrize("views", [1, 2, 4])
@pytest.mark.parametrize(
    "block",
    [
        {"width": 8},
        {"width": 16, "token_width": 4, "hidden": 3},
        {"width": 8, "attention": "local", "window": 4},
        {"width": 16, "attention": "both", "window": 2, "token_width": 4, "init_scale": 2.0},
    ],
)
def test_logits_are_those_of_the_formula(
    kind: type[AttentionFusion], key: dict[str, Any], views: int, block: dict[str, Any]
) -> None:
    options = {**block, **key}
    model = build(kind, views, **options)
    x, present = batch(model), holes(model)
    logits = model(x, present).logits.detach().numpy()
    np.testing.assert_allclose(logits, reference_logits(model, options, x, present), rtol=1e-9, atol=1e-11)


def test_concat_at_the_released_size_has_4_202_000_parameters_and_the_released_values() -> None:
    torch.manual_seed(0)
    model = Concat({"face": 768, "eye+mouth": 768}, 8, width=1024, hidden=512)
    assert sum(value.numel() for value in model.parameters()) == 4_202_000

    face, part = torch.randn(3, 768), torch.randn(3, 768)
    (project, other), attention = model.project, model.attention[0]
    mha = nn.MultiheadAttention(embed_dim=1, num_heads=1, batch_first=True)
    with torch.no_grad():
        for index, layer in enumerate((attention.query, attention.key, attention.value)):
            layer.bias.normal_()
            mha.in_proj_weight[index] = layer.weight[0]
            mha.in_proj_bias[index] = layer.bias[0]
        attention.out.bias.normal_()
        mha.out_proj.load_state_dict(attention.out.state_dict())
        h1, h2 = project(face), other(part)
        key = model.key.layer(torch.cat([h1, h2], 1))
        attended, _ = mha(h2[..., None], key[..., None], h1[..., None])
        expected = model.classifier[1](model.classifier[0](attended[..., 0] + h1))
        logits = model({"face": face, "eye+mouth": part}).logits
    np.testing.assert_allclose(logits.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_hidden_width_is_half_the_width_unless_given() -> None:
    assert Concat(VIEWS, CLASSES, width=24).classifier[0].out_features == 12
    assert Concat(VIEWS, CLASSES, width=1).classifier[0].out_features == 1
    assert Concat(VIEWS, CLASSES, width=24, hidden=5).classifier[0].out_features == 5


@pytest.mark.parametrize(
    ("kind", "options", "key_parameters"),
    [
        (Concat, {}, 3 * 8 * 8 + 8),
        (Mean, {}, 0),
        (Mean, {"linear": True}, 8 * 8 + 8),
        (UpDownConcat, {"ratio": 2}, (24 * 48 + 48) + (48 * 8 + 8)),
        (UpDownConcat, {"ratio": 2, "scope": "per_view"}, 3 * (8 * 16 + 16) + (48 * 8 + 8)),
        (UpDownMean, {"ratio": 2}, (8 * 16 + 16) + (16 * 8 + 8)),
        (UpDownMean, {"ratio": 2, "scope": "per_view"}, 3 * (8 * 16 + 16) + (16 * 8 + 8)),
    ],
)
def test_parameters_are_counted_from_the_formula(
    kind: type[AttentionFusion], options: dict[str, Any], key_parameters: int
) -> None:
    model = build(kind, 3, width=8, hidden=4, attention="both", window=4, **options)
    projections = (5 * 8 + 8) + (7 * 8 + 8) + (5 * 8 + 8)
    attentions, classifier = 2 * 4 * (1 + 1), (8 * 4 + 4) + (4 * CLASSES + CLASSES)
    expected = projections + key_parameters + attentions + classifier
    assert sum(value.numel() for value in model.parameters()) == expected


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_a_frame_without_auxiliary_views_is_classified_by_its_projected_main_view(
    kind: type[AttentionFusion], key: dict[str, Any]
) -> None:
    model = build(kind, 3, width=8, **key)
    x = batch(model)
    absent = torch.zeros(7, dtype=torch.bool)
    logits = model(x, {"face": ~absent, "eye": absent, "mouth": absent}).logits
    assert torch.equal(logits, model.classifier(model.project[0](x["face"])))


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_a_frame_without_one_auxiliary_view_is_a_mean_over_the_others_only(
    kind: type[AttentionFusion], key: dict[str, Any]
) -> None:
    model = build(kind, 3, width=8, **key)
    x = batch(model)
    here = torch.ones(7, dtype=torch.bool)
    present = {"face": here, "eye": here, "mouth": ~here}
    logits = model(x, present).logits
    assert torch.equal(model({**x, "mouth": 1e6 * x["mouth"] + 3}, present).logits, logits)
    assert not torch.allclose(model({**x, "eye": -x["eye"]}, present).logits, logits)
    assert not torch.allclose(model(x).logits, logits)


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_an_absent_main_view_enters_with_its_imputed_features(kind: type[AttentionFusion], key: dict[str, Any]) -> None:
    model = build(kind, 3, width=8, **key)
    x = batch(model)
    here = torch.ones(7, dtype=torch.bool)
    assert torch.equal(model(x, {"face": ~here, "eye": here, "mouth": here}).logits, model(x).logits)


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_the_order_of_auxiliary_views_only_permutes_weights(kind: type[AttentionFusion], key: dict[str, Any]) -> None:
    model = build(kind, 3, width=8, **key)
    swapped = kind({"face": 5, "mouth": 5, "eye": 7}, CLASSES, width=8, **key).double()
    state = model.state_dict()
    for part in ("weight", "bias"):
        for stem in ("project", "key.up"):
            if f"{stem}.2.{part}" in state:
                first, second = state[f"{stem}.1.{part}"], state[f"{stem}.2.{part}"]
                state[f"{stem}.1.{part}"], state[f"{stem}.2.{part}"] = second, first
    # What reads a concatenation has a block of columns a view.
    reads_concatenation = "key.layer" if kind is Concat else "key.down" if key.get("scope") == "per_view" else "key.up"
    if kind in (Concat, UpDownConcat):
        weight = state[f"{reads_concatenation}.weight"]
        face, eye, mouth = weight.chunk(3, dim=1)
        state[f"{reads_concatenation}.weight"] = torch.cat([face, mouth, eye], 1)
    swapped.load_state_dict(state)
    x, present = batch(model), holes(model)
    torch.testing.assert_close(swapped(x, present).logits, model(x, present).logits, rtol=1e-10, atol=1e-12)
