"""Plan: a grid's description to the union of its work: embeddings, heads, and families of cells to smooth and score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from fusionkit.config import BackboneChoice, GridConfig
from fusionkit.engine import fit, score, smooth
from fusionkit.engine.embed import Embedding, embedding_of
from fusionkit.engine.source import Source, open_source
from fusionkit.engine.trial import Trial
from fusionkit.errors import ConfigError, DataError
from fusionkit.identity import component_identity, digest
from fusionkit.recipe import Recipe, sweep_text
from fusionkit.registry import FUSIONS, SMOOTHERS, did_you_mean
from fusionkit.spec import Spec
from fusionkit.splits import divide
from fusionkit.views import View, arrange

ALONE = Spec("linear")  # the fusion of the reference row: the main view alone with a linear head


@dataclass(frozen=True)
class Axes:
    """Where a family stands in a grid, as text: the leading columns of the results."""

    dataset: str
    split: str
    extractor: str
    backbone: str
    main: str
    views: str
    fusion: str
    recipe: str
    smoother: str

    @property
    def name(self) -> str:
        """``views/fusion/smoother``."""
        return f"{self.views}/{self.fusion}/{self.smoother}"


@dataclass(frozen=True, eq=False)
class HeadWork:
    """One head to train: its identity, and all that it is trained from.

    Attributes:
        swept: the recipe is one of several between which dev decides.
    """

    id: str
    trial: Trial
    embeddings: dict[str, Embedding]
    fusion: Spec
    recipe: Recipe
    seed: int
    swept: bool = False

    @property
    def name(self) -> str:
        """How to name it to a person."""
        name = f"{','.join(self.embeddings)}/{self.fusion}/{self.seed}"
        return f"{name} ({self.recipe})" if self.swept else name


@dataclass(frozen=True, eq=False)
class Family:
    """The cells of one row: a head per fold and seed, smoothed alike.

    Attributes:
        heads: of every seed and fold; where recipes are swept, of each recipe in turn, though only those of the recipe
            that is chosen on dev become cells.
        reference: id of the family that ``delta`` is taken to; None for the reference itself, or without one.
    """

    id: str
    axes: Axes
    smoother: Spec
    heads: tuple[HeadWork, ...]
    reference: str | None

    def cell_id(self, head: HeadWork) -> str:
        """Identity of the cell that this family makes of a head, or of one of its rivals."""
        return digest([self.id, *(rival.id for rival in self.rivals(head))])[:12]

    def rivals(self, head: HeadWork) -> list[HeadWork]:
        """The heads of the same seed and fold, the given one among them: one a recipe of the sweep."""
        return self._rivals[head.seed, head.trial]

    @cached_property
    def _rivals(self) -> dict[tuple[int, Trial], list[HeadWork]]:
        found: dict[tuple[int, Trial], list[HeadWork]] = {}
        for head in self.heads:
            found.setdefault((head.seed, head.trial), []).append(head)
        return found


@dataclass(frozen=True, eq=False)
class Plan:
    """All work of a grid.

    Attributes:
        protocol: identity of data and splits: results of one protocol may be compared.
        data: what the protocol stands for, in words.
        families: in plan order, reference rows first.
        notes: warnings about data and splits.
    """

    grid: GridConfig
    protocol: str
    data: list[str]
    families: list[Family]
    notes: list[str] = field(default_factory=list)

    @property
    def heads(self) -> dict[str, HeadWork]:
        """Every head once, in plan order."""
        return {head.id: head for family in self.families for head in family.heads}


@dataclass(frozen=True)
class _Context:
    """What a family shares with its reference."""

    trials: tuple[Trial, ...]
    extractor: Spec
    backbone: BackboneChoice


def make_plan(grid: GridConfig, device: str) -> Plan:
    """Open the data sets and lay out all work.

    Raises:
        ConfigError: if a view is not offered by a data set of ready embeddings.
        DataError: if data are missing, empty, or cannot be divided.
    """
    trials: list[tuple[Trial, ...]] = []
    notes: list[str] = []
    for spec in grid.datasets:
        source = open_source(spec, grid.limit)
        _check_ready_views(grid, source)
        try:
            folds, warnings = divide(grid.split, source.table, source.classes)
        except DataError as error:
            raise DataError(f"data set {spec}: {error}") from error
        trials.append(tuple(Trial(source, fold) for fold in folds))
        notes += warnings
    identity = [[each.source.fingerprint, each.fold.digest] for group in trials for each in group]
    families: dict[str, Family] = {}
    for context in _contexts(grid, trials):
        for family in _families(grid, context, device):
            families.setdefault(family.id, family)
    data = [f"{spec}, split {grid.split}" + (f", limit {grid.limit}" if grid.limit else "") for spec in grid.datasets]
    return Plan(grid, digest(identity), data, list(families.values()), notes)


def _check_ready_views(grid: GridConfig, source: Source) -> None:
    offered = source.dataset.views
    sets = [*grid.regions, *([grid.reference] if isinstance(grid.reference, tuple) else [])]
    views = {str(view) for region_set in sets for view in region_set} | ({str(grid.main)} if grid.main else set())
    if offered and views - set(offered):
        lacking = min(views - set(offered))
        raise ConfigError(
            f"regions: data set {source.spec} has no view {lacking!r}{did_you_mean(lacking, offered)}; "
            f"it has {', '.join(offered)}"
        )


def _contexts(grid: GridConfig, trials: list[tuple[Trial, ...]]) -> Iterator[_Context]:
    for group in trials:
        for extractor in grid.extractors:
            for backbone in grid.backbones:
                yield _Context(group, extractor, backbone)


def _families(grid: GridConfig, context: _Context, device: str) -> Iterator[Family]:
    """The reference's families, then all others, the smoother turning fastest."""
    chosen = _reference(grid)
    references = {
        smoother: _family(grid, context, chosen[0], chosen[1], smoother, None, device) if chosen else None
        for smoother in map(str, grid.smoothers)
    }
    yield from (family for family in references.values() if family)
    for regions in grid.regions:
        for fusion in grid.fusions:
            for smoother in grid.smoothers:
                reference = references[str(smoother)]
                arranged = arrange(grid.main, regions)
                family = _family(grid, context, arranged, fusion, str(smoother), reference, device)
                if reference is None or family.id != reference.id:
                    yield family


def _reference(grid: GridConfig) -> tuple[dict[str, View], Spec] | None:
    if grid.reference is None:
        return None
    if isinstance(grid.reference, tuple):
        return arrange(grid.main, grid.reference), grid.fusions[0]
    assert grid.main is not None
    return {str(grid.main): grid.main}, ALONE


def _family(
    grid: GridConfig,
    context: _Context,
    views: dict[str, View],
    fusion: Spec,
    smoother: str,
    reference: Family | None,
    device: str,
) -> Family:
    recipes = Recipe.sweep(getattr(FUSIONS.get(fusion.name), "recipe", {}), dict(grid.recipe))
    heads = tuple(
        replace(_head(trial, context, views, fusion, recipe, seed, device), swept=len(recipes) > 1)
        for recipe in recipes
        for seed in grid.seeds
        for trial in context.trials
    )
    axes = Axes(
        dataset=str(context.trials[0].source.spec),
        split=context.trials[0].fold.name if len(context.trials) == 1 else str(grid.split),
        extractor=str(context.extractor),
        backbone=str(context.backbone),
        main=str(grid.main) if grid.main else "none",
        views=",".join(views),
        fusion=str(fusion),
        recipe=sweep_text(recipes),
        smoother=smoother,
    )
    spec = Spec.parse(smoother)
    identity = {
        "main": axes.main,
        "embeddings": [[name, embedding.key] for name, embedding in heads[0].embeddings.items()],
        "folds": [trial.fold.digest for trial in context.trials],
        "recipes": [recipe.describe() for recipe in recipes],
        "fusion": component_identity(FUSIONS, fusion),
        "smoother": component_identity(SMOOTHERS, spec),
        "revisions": [fit.REVISION, smooth.REVISION, score.REVISION],
    }
    return Family(digest(identity)[:12], axes, spec, heads, reference.id if reference else None)


def _head(
    trial: Trial,
    context: _Context,
    views: dict[str, View],
    fusion: Spec,
    recipe: Recipe,
    seed: int,
    device: str,
) -> HeadWork:
    tokens = fit.needs_of(fusion)
    embeddings = {name: _embedding(trial.source, context, view, tokens, device) for name, view in views.items()}
    identity: dict[str, Any] = {
        "revision": fit.REVISION,
        "data": trial.source.fingerprint,
        "fold": trial.fold.digest,
        "embeddings": [[name, embedding.key] for name, embedding in embeddings.items()],
        "fusion": component_identity(FUSIONS, fusion),
        "recipe": recipe.describe(),
        "seed": seed,
        "device": device.partition(":")[0],
    }
    return HeadWork(digest(identity)[:12], trial, embeddings, fusion, recipe, seed)


def _embedding(source: Source, context: _Context, view: View, tokens: int, device: str) -> Embedding:
    return embedding_of(source, context.extractor, view, context.backbone.of(view), tokens, device)
