"""Wrong options of the paper's fusions are reported with the option's name and what it must be."""

from __future__ import annotations

from typing import Any

import pytest

from fusionkit.errors import ConfigError
from fusionkit.registry import FUSIONS
from fusionkit.registry.spec import Spec

PAPER = ["concat", "mean", "updown-concat", "updown-mean"]
DIMS = {"face": 4, "eye": 4}


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        *((name, {"width": 0}, "at least 1") for name in PAPER),
        *((name, {"width": 8.0}, "int") for name in PAPER),
        *((name, {"hidden": "8"}, "int") for name in PAPER),
        *((name, {"window": True}, "int") for name in PAPER),
        *((name, {"token_width": -1}, "at least 1") for name in PAPER),
        *((name, {"attention": "global"}, "self, local, both") for name in PAPER),
        *((name, {"attention": ["self"]}, "self, local, both") for name in PAPER),
        *((name, {"init_scale": 0}, "above 0") for name in PAPER),
        *((name, {"init_scale": float("nan")}, "finite") for name in PAPER),
        ("mean", {"linear": 1}, "bool"),
        ("updown-concat", {"ratio": 0.5}, "at least 1"),
        ("updown-mean", {"ratio": float("inf")}, "finite"),
        ("updown-mean", {"activation": "tanh"}, "none, relu, gelu"),
        ("updown-concat", {"scope": "each"}, "joint, per_view"),
        ("scaled-attention", {"hidden": 0}, "at least 1"),
        ("scaled-attention", {"temperature": 0}, "above 0"),
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
    ("name", "options", "expected"),
    [
        *((name, {"width": 10, "token_width": 4}, ["token_width = 4", "width = 10"]) for name in PAPER),
        *(
            (
                name,
                {"width": 12, "token_width": 2, "attention": "local", "window": 4},
                ["window = 4", "6 tokens", "width = 12", "token_width = 2"],
            )
            for name in PAPER
        ),
        ("scaled-attention", {"width": 10}, ["token_width = 16", "width = 10"]),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(
    name: str, options: dict[str, Any], expected: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        FUSIONS.build(Spec(name, options), in_dims=DIMS, num_classes=3)
    (problem,) = refused.value.problems
    assert FUSIONS.get(name).__name__ in problem
    assert all(words in problem for words in expected)


def test_the_window_is_not_checked_without_local_attention() -> None:
    assert FUSIONS.build("concat:width=6,window=4", in_dims=DIMS, num_classes=3).num_classes == 3
