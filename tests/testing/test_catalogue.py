"""Lists and ``fusionkit info`` show what the class of a component states."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar

import pytest
from testing.good_plugins import GoodFitted, GoodFusion, GoodTokenFusion
from toy_components import registered
from typer.testing import CliRunner

from fusionkit.cli import app
from fusionkit.config.recipe import Recipe
from fusionkit.contracts import CausalSmoother, Fusion
from fusionkit.registry import BACKBONES, FUSIONS, SMOOTHERS
from fusionkit.testing import check_fusion
from fusionkit.testing.catalogue import entries, entry, markdown
from fusionkit.training.finetune_config import FinetuneRecipe, FinetuneRunSection
from fusionkit.training.pretrain_config import SECTIONS
from fusionkit_smoothers.exponential import Exponential


class Steady(CausalSmoother):
    """Holds | still.

    More of it.

    Args:
        hold: for how long.

    Reference: Ann 2020,
    two lines.

    And after it.
    """

    needs: ClassVar[Any] = "logits"
    fitted: ClassVar[bool] = True
    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"hold": (1, 2)}

    def __init__(self, hold: int | str = 3) -> None: ...

    def advance(self, x: Any, frame_numbers: Any, past: Any) -> Any: ...


class Silent(Fusion):
    pass


def test_an_entry_is_read_from_the_class() -> None:
    with registered(SMOOTHERS, "steady", Steady):
        found = entry(SMOOTHERS, "steady")
        assert (found.kind, found.name, found.summary) == ("smoother", "steady", "Holds | still.")
        assert found.reference == "Ann 2020, two lines."
        assert found.tags == ("of logits", "causal", "fitted", "hold=auto")
        assert [(option.name, option.type_name, option.default) for option in found.options] == [
            ("hold", "int | str", 3)
        ]
        assert markdown([found]).splitlines() == [
            "## Smoothers",
            "",
            "| name | summary | tags | options | reference |",
            "|---|---|---|---|---|",
            r"| `steady` | Holds \| still. | of logits, causal, fitted, hold=auto | `hold` | Ann 2020, two lines. |",
        ]


@pytest.mark.parametrize(
    ("cls", "tags", "shapes"),
    [
        (GoodFusion, ("masked",), "embeddings (B, D_v) per view to one (B, out_dim)"),
        (GoodTokenFusion, ("imputed", "tokens"), "tokens (B, K, D_v)"),
        (GoodFitted, ("fitted",), "to probabilities (N, C)"),
    ],
)
def test_fusions_have_tags_and_shapes(cls: type, tags: tuple[str, ...], shapes: str) -> None:
    with registered(FUSIONS, "toy", cls):
        found = entry(FUSIONS, "toy")
    assert found.tags == tags
    assert shapes in found.shapes


def test_entries_are_chosen_by_kind_pattern_and_distribution() -> None:
    with registered(SMOOTHERS, "steady", Steady):
        assert [found.name for found in entries("smoothers", "st*")] == ["steady"]
        assert [found.name for found in entries("smoothers", "st*", "fusionkit")] == []
    assert [found.name for found in entries("fusions", "plain-m*", "fusionkit")] == ["plain-max", "plain-mean"]


def test_a_class_without_docstring_does_not_inherit_that_of_its_contract() -> None:
    text = {result.check: result.message for result in check_fusion(Silent) if result.outcome == "failed"}
    assert "docstring" in text["docstring_has_a_summary"]
    assert "docstring_names_a_reference" in text


def output_of(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    return result.output


def test_info_shows_shapes_tags_options_and_expected_failures() -> None:
    text = output_of("info", "linear")
    assert "fusion from fusionkit" in text
    assert "(fusionkit_fusions.linear:Linear)" in text
    assert "tags    imputed" in text
    assert (
        "known to fail gradient_reaches_every_view: the baseline for other fusions uses the main view alone"
        in " ".join(text.split())
    )
    text = output_of("info", "smoothers/exponential")
    assert "tags    of probs, causal, half_life=auto" in text
    lines = text.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("  half_life: float >= 0 | 'auto' = "))
    assert lines[at + 1].startswith("      ")
    assert " ".join(lines[at + 1].split()) in " ".join((Exponential.__doc__ or "").replace("``", "").split())
    assert "Args:" not in text


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("recipe", {"recipe": Recipe}),
        ("finetune", {"recipe": FinetuneRecipe, "run": FinetuneRunSection}),
        ("pretrain", SECTIONS),
    ],
)
def test_info_shows_the_sections_of_a_config(name: str, sections: dict[str, type]) -> None:
    lines = output_of("info", name).splitlines()
    at = -1
    for key, section in sections.items():
        at = next(index for index in range(at + 1, len(lines)) if lines[index].startswith(f"{key}  of "))
        for option in fields(section):
            at = next(index for index in range(at + 1, len(lines)) if lines[index].startswith(f"  {option.name}: "))
            assert lines[at].endswith(f" = {option.default!r}")
            assert lines[at + 1].strip(), "explained"


def test_an_option_is_explained_by_the_nearest_class_that_explains_it() -> None:
    found = entry(FUSIONS, "updown-mean")
    assert [option.name for option in found.options][:4] == ["ratio", "activation", "scope", "width"]
    assert found.explained["ratio"] == "output width over input width of the up-projection."
    assert found.explained["width"].startswith("D, to which every view is projected.")


def test_a_backbone_with_tokens_has_a_tag() -> None:
    assert entry(BACKBONES, "tiny-mae").tags == ("tokens", "maps")
    assert entry(BACKBONES, "hog").tags == ()


def test_lists_are_short_or_long_and_of_one_distribution() -> None:
    long = output_of("list", "fusions", "plain-max", "--long")
    assert "masked" in long
    assert entry(FUSIONS, "plain-max").summary.split()[0] in long
    assert "plain-max" in output_of("list", "fusions", "--from", "fusionkit")
    assert "plain-max" not in output_of("list", "fusions", "--from", "somebody-else")


def test_an_unknown_format_is_refused() -> None:
    result = CliRunner().invoke(app, ["list", "--format", "latex"])
    assert result.exit_code == 2
    assert "'table', 'markdown'" in result.output
