"""Sweeps of component options: which lists are values and which are sweeps, and what dev may choose among."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from toy_components import registered

from fusionkit.contracts import StackedFusion
from fusionkit.contracts.option_types import Count
from fusionkit.registry import BACKBONES, DATASETS, EXTRACTORS, FUSIONS, SMOOTHERS, ComponentRegistry
from fusionkit.registry.spec import Spec
from fusionkit.registry.sweep import dev_candidates, selection_problems, variants


class Layered(StackedFusion):
    def __init__(
        self,
        widths: Sequence[Count] = (8,),
        pair: tuple[int, int] = (1, 1),
        depth: Count | list[Count] = 1,
        share: float = 0.5,
        anything=None,  # type: ignore[no-untyped-def]
        **given: Any,
    ) -> None:
        super().__init__(**given)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("share=[0.1,1]", ["share=0.1", "share=1"]),
        ("widths=[8,16]", ["widths=[8,16]"]),  # its own value
        ("widths=[[8],[16,16]]", ["widths=[8]", "widths=[16,16]"]),
        ("pair=[1,2]", ["pair=[1,2]"]),
        ("pair=[[1,2],[3,4]]", ["pair=[1,2]", "pair=[3,4]"]),
        ("depth=[1,2]", ["depth=[1,2]"]),
        ("depth=[3,[1,2]]", ["depth=3", "depth=[1,2]"]),
        ("anything=[1,2]", ["anything=[1,2]"]),  # without a type every list is a value
        (
            "depth=[3,[1]],pair=[1,2],share=[0.1,0.2]",
            [f"depth={depth},pair=[1,2],share={share}" for depth in ("3", "[1]") for share in (0.1, 0.2)],
        ),
        ("share=[]", ["share=[]"]),
        ("unknown=[1,2]", ["unknown=[1,2]"]),
    ],
)
def test_a_list_that_the_option_accepts_is_its_value_and_any_other_a_sweep(options: str, expected: list[str]) -> None:
    with registered(FUSIONS, "toy-layered", Layered):
        found = variants(FUSIONS, Spec.parse(f"toy-layered:{options}"))
    assert [str(spec).partition(":")[2] for spec in found] == expected


def test_a_sweep_of_an_unknown_component_is_left_to_its_check() -> None:
    assert variants(FUSIONS, Spec.parse("nothing:x=[1,2]")) == [Spec.parse("nothing:x=[1,2]")]


def test_dev_chooses_among_the_listed_values_and_those_of_auto() -> None:
    assert dev_candidates(FUSIONS, Spec.parse("mlp:hidden=[64,128],select=dev")) == [
        Spec.parse("mlp:hidden=64"),
        Spec.parse("mlp:hidden=128"),
    ]
    assert dev_candidates(FUSIONS, Spec.parse("mlp:hidden=64")) == [Spec.parse("mlp:hidden=64")]
    auto = dev_candidates(SMOOTHERS, Spec.parse("window:width=auto"))
    assert [spec.options["width"] for spec in auto] == [1, 5, 11, 25, 51, 101, 201]
    mixed = dev_candidates(SMOOTHERS, Spec.parse("window:width=[501,auto],select=dev"))
    assert [spec.options["width"] for spec in mixed] == [501, 1, 5, 11, 25, 51, 101, 201]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("mlp:hidden=[64,128],select=test", "option select = 'test' must be dev, the split that selects a value"),
        ("mlp:hidden=64,select=dev", "option select = 'dev' needs an option with a list of values, as mlp:"),
        ("mlp:hidden=[64,0],select=dev", "option hidden = 0 must be at least 1"),
    ],
)
def test_a_wrong_selection_is_named(spec: str, problem: str) -> None:
    (found,) = selection_problems(FUSIONS, Spec.parse(spec))
    assert problem in found


@pytest.mark.parametrize(
    ("registry", "spec"),
    [
        (BACKBONES, "hog:cell_size=8,select=dev"),
        (DATASETS, "synthetic:select=dev"),
        (EXTRACTORS, "template:select=dev"),
    ],
)
def test_a_selection_of_other_components_is_refused_with_what_has_one(registry: ComponentRegistry, spec: str) -> None:
    (problem,) = registry.problems(Spec.parse(spec))
    assert "option select: dev selects values of fusions, smoothers and recipes only" in problem
