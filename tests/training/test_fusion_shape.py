from __future__ import annotations

import pytest

from fusionkit.errors import ConfigError
from fusionkit.registry.spec import Spec
from fusionkit.training.finetune_config import FusionShape


@pytest.mark.parametrize(
    ("position", "combine", "spec", "folder"),
    [
        ("alone", "concat", "finetuned", "alone"),
        ("input", "average", "joint:combine=average,position=input", "input-average"),
        ("block:12", "concat", "joint:combine=concat,position=block:12", "block12-concat"),
        ("pooled", "concat", "joint:combine=concat,position=pooled", "pooled-concat"),
        ("logits", "average", "joint:combine=average,position=logits", "logits-average"),
    ],
)
def test_a_shape_is_read_and_named(position: str, combine: str, spec: str, folder: str) -> None:
    shape = FusionShape.parse(position, combine)
    assert shape.at == position
    assert str(shape.spec) == spec
    assert Spec.parse(spec) == shape.spec
    assert shape.folder == folder


def test_a_lone_view_has_no_operator() -> None:
    assert FusionShape.parse("alone", "concat") == FusionShape.parse("alone", "average")


@pytest.mark.parametrize(
    ("position", "combine", "line"),
    [
        ("block", "average", "position = 'block' is none of alone, input, block:K, pooled or logits"),
        ("block:-1", "average", "position = 'block:-1'"),
        (3, "average", "position = 3"),
        ("input", "sum", "combine = 'sum' is none of average, concat"),
    ],
)
def test_what_is_no_shape_is_refused(position: object, combine: object, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        FusionShape.parse(position, combine)
    assert line in str(raised.value)
