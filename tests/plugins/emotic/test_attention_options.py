"""Wrong options of the paper's four fusions are refused in one clear line."""

from __future__ import annotations

from typing import Any

import pytest

from fusionkit.errors import ConfigError
from fusionkit_emotic.attention_fusion import AttentionFusion
from fusionkit_emotic.concat import Concat
from fusionkit_emotic.mean import Mean
from fusionkit_emotic.updown_concat import UpDownConcat
from fusionkit_emotic.updown_mean import UpDownMean

DIMS = {"face": 4, "eye": 4}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Concat, "concat"), (Mean, "mean"), (UpDownConcat, "updown-concat"), (UpDownMean, "updown-mean")],
)
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"width": 0}, "width=0 is not a whole number from 1 up"),
        ({"width": 8.0}, "width=8.0 is not a whole number from 1 up"),
        ({"hidden": "8"}, "hidden='8' is not a whole number from 1 up"),
        ({"window": True}, "window=True is not a whole number from 1 up"),
        ({"token_width": -1}, "token_width=-1 is not a whole number from 1 up"),
        ({"attention": "global"}, "attention='global' is not one of self, local, both"),
        ({"attention": ["self"]}, "attention=['self'] is not one of self, local, both"),
        ({"init_scale": 0}, "init_scale=0 is not a number above 0"),
        ({"init_scale": float("nan")}, "init_scale=nan is not a number above 0"),
        ({"width": 10, "token_width": 4}, "token_width=4 does not divide width=10: tokens must be of equal width"),
        (
            {"width": 12, "token_width": 2, "attention": "local", "window": 4},
            "window=4 does not divide the 6 tokens of width=12, token_width=2: windows must be of equal length",
        ),
    ],
)
def test_options_of_the_block_are_refused(
    kind: type[AttentionFusion], name: str, options: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        kind(DIMS, 3, **options)
    assert refused.value.problems == [f"{name}: {line}"]


@pytest.mark.parametrize(
    ("kind", "options", "line"),
    [
        (Mean, {"linear": 1}, "mean: linear=1 is neither true nor false"),
        (UpDownConcat, {"ratio": 0.5}, "updown-concat: ratio=0.5 is not a number from 1 up"),
        (UpDownMean, {"ratio": float("inf")}, "updown-mean: ratio=inf is not a number from 1 up"),
        (UpDownMean, {"activation": "tanh"}, "updown-mean: activation='tanh' is not one of none, relu, gelu"),
        (UpDownConcat, {"scope": "each"}, "updown-concat: scope='each' is not one of joint, per_view"),
    ],
)
def test_options_of_a_key_are_refused(kind: type[AttentionFusion], options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        kind(DIMS, 3, **options)
    assert refused.value.problems == [line]


def test_a_window_that_does_not_fit_is_no_matter_where_no_attention_is_local() -> None:
    assert Concat(DIMS, 3, width=6, window=4).num_classes == 3
