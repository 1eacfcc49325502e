"""Wrong options of fusions are reported with the option's name and what it must be."""

from __future__ import annotations

from typing import Any

import pytest

from fusionkit.errors import ConfigError
from fusionkit.registry import FUSIONS
from fusionkit.registry.spec import Spec


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("plain-sum", {"width": 0}, "at least 1"),
        ("plain-mean", {"width": 0}, "at least 1"),
        ("plain-max", {"width": 2.5}, "int"),
        ("weighted-mean", {"width": 0}, "at least 1"),
        ("mlp", {"hidden": 0}, "at least 1"),
        ("mlp", {"hidden": True}, "int"),
        ("mlp", {"activation": "tanh"}, "relu, gelu"),
        ("mlp", {"activation": ["relu"]}, "relu, gelu"),
        ("mlp", {"dropout": 1.0}, "at least 0 and below 1"),
        ("mlp", {"dropout": "0.5"}, "float"),
        ("gated", {"width": 0}, "at least 1"),
        ("gated", {"gate": "hard"}, "softmax, sigmoid"),
        ("film", {"by": "both"}, "main, auxiliary"),
        ("film", {"width": True}, "int"),
        ("squeeze-excitation", {"ratio": 0}, "at least 1"),
        ("ms-cam", {"width": 0}, "at least 1"),
        ("iaff", {"ratio": 1.5}, "int"),
        ("hadamard", {"width": "8"}, "int"),
        ("low-rank", {"rank": 0}, "at least 1"),
        ("tensor", {"width": 0}, "at least 1"),
        ("mutan", {"rank": -1}, "at least 1"),
        ("logit-mean", {"hidden": -1}, "at least 0"),
        ("logit-weights", {"hidden": -1}, "at least 0"),
        ("majority-vote", {"learn": "joint"}, "unknown"),
        ("product-of-experts", {"learn": "both"}, "separate, joint"),
        ("evidential", {"annealing": 0}, "at least 1"),
        ("qmf", {"rank": -0.1}, "at least 0"),
        ("stacking", {"folds": 1}, "at least 2"),
        ("stacking", {"c": 0.0}, "above 0"),
        ("self-attention", {"depth": 0}, "at least 1"),
        ("bottleneck", {"token_count": 0}, "at least 1"),
        ("bottleneck", {"bottlenecks": 0}, "at least 1"),
        ("perceiver", {"latents": 0}, "at least 1"),
        ("region-attention", {"margin": 2}, "at most 1"),
        ("region-attention", {"region_bias": -1.0}, "at least 0"),
        ("mixture-of-experts", {"top": 0}, "at least 1"),
        ("temporal-transformer", {"window": 0}, "at least 1"),
        ("temporal-transformer", {"causal": 1}, "bool"),
        ("gated-gru", {"window": 8.5}, "int"),
    ],
)
def test_a_wrong_option_is_reported_with_its_name_and_its_range(
    name: str, options: dict[str, Any], expected: str
) -> None:
    (problem,) = FUSIONS.problems(Spec(name, options))
    assert repr(name) in problem
    assert next(iter(options)) in problem
    assert expected in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "name", ["cross-attention", "self-attention", "bottleneck", "perceiver", "temporal-transformer"]
)
def test_heads_must_divide_the_width(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        FUSIONS.build(Spec(name, {"heads": 3}), in_dims={"face": 4, "eye": 4}, num_classes=4)
    (problem,) = refused.value.problems
    assert FUSIONS.get(name).__name__ in problem
    assert "heads = 3" in problem
    assert "width = 128" in problem


def test_a_tensor_fusion_of_too_many_products_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        FUSIONS.build(Spec("tensor", {"width": 200}), in_dims={"a": 2, "b": 2, "c": 2}, num_classes=4)
    assert "width = 200" in str(refused.value)
    assert "8,120,601" in str(refused.value)
    assert "1,048,576" in str(refused.value)
