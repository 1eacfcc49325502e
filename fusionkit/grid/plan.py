"""Plan: a grid's description to the union of its work: embeddings, heads, and rows of cells to smooth and score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fusionkit.config.grid_config import IMPUTE, BackboneChoice, GridConfig
from fusionkit.config.recipe import Recipe, sweep_text
from fusionkit.config.splits import divide
from fusionkit.config.views import FACE, View, arrange
from fusionkit.engine import fit, score, smooth
from fusionkit.engine.embed import Embedding, backbone_width, embedding_of, labels_learned
from fusionkit.engine.fit import needs_of
from fusionkit.engine.fold import FoldData
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.axes import ALONE, Axes
from fusionkit.registry import BACKBONES, FUSIONS, SMOOTHERS, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import component_identity, digest
from fusionkit.storage.record import Record, component_record


@dataclass(frozen=True, eq=False)
class HeadWork:
    """One head to train: its identity, and all that it is trained from.

    Attributes:
        swept: the recipe is one of several between which dev decides.
        record: what the id was made from, stored with the head.
    """

    id: str
    fold_data: FoldData
    embeddings: dict[str, Embedding]
    fusion: Spec
    recipe: Recipe
    seed: int
    swept: bool = False
    record: Record = field(default_factory=dict)

    @property
    def uses(self) -> dict[str, Any]:
        """With what the head is applied to new frames, as it was written; a backbone is None where views are given."""
        embeddings = self.embeddings.values()
        cut_out = (str(item.extractor) for item in embeddings if item.backbone and item.view != FACE)
        return {
            "class_names": list(self.fold_data.source.classes),
            "extractor": next(cut_out, None),
            "backbones": {
                name: str(item.backbone) if item.backbone else None for name, item in self.embeddings.items()
            },
        }

    @property
    def name(self) -> str:
        """How to name it to a person."""
        name = f"{','.join(self.embeddings)}/{self.fusion}/{self.seed}"
        return f"{name} ({self.recipe})" if self.swept else name


@dataclass(frozen=True, eq=False)
class RowPlan:
    """The cells of one row: a head per fold and seed, smoothed alike.

    Attributes:
        heads: of every seed and fold; where recipes are swept, of each recipe in turn, though only those of the recipe
            that is chosen on dev become cells.
        reference: id of the row that ``delta`` is taken to; None for the reference itself, or without one.
        impute: what frames without any view are given.
        record: how its cells are made of their heads, stored with each cell.
    """

    id: str
    axes: Axes
    smoother: Spec
    heads: tuple[HeadWork, ...]
    reference: str | None
    record: Record = field(default_factory=dict)
    impute: str = IMPUTE[0]

    def cell_id(self, head: HeadWork) -> str:
        """Identity of the cell that this row makes of a head, or of one of its rivals."""
        return digest([self.id, *(rival.id for rival in self.rivals(head))])[:12]

    def rivals(self, head: HeadWork) -> list[HeadWork]:
        """The heads of the same seed and fold, the given one among them: one a recipe of the sweep."""
        return self.groups[head.seed, head.fold_data]

    @cached_property
    def groups(self) -> dict[tuple[int, FoldData], list[HeadWork]]:
        """The heads that each cell is made of, or chosen among, by seed and fold."""
        found: dict[tuple[int, FoldData], list[HeadWork]] = {}
        for head in self.heads:
            found.setdefault((head.seed, head.fold_data), []).append(head)
        return found


@dataclass(frozen=True, eq=False)
class Plan:
    """All work of a grid.

    Attributes:
        protocol: identity of data and splits: results of one protocol may be compared.
        data: what the protocol stands for, in words.
        rows: in plan order, reference rows first.
        notes: warnings about data and splits.
    """

    grid: GridConfig
    protocol: str
    data: list[str]
    rows: list[RowPlan]
    notes: list[str] = field(default_factory=list)

    @property
    def heads(self) -> dict[str, HeadWork]:
        """Every head once, in plan order."""
        return {head.id: head for row in self.rows for head in row.heads}


@dataclass(frozen=True)
class _Context:
    """What a row shares with its reference.

    Attributes:
        folds: the folds of one data set.
    """

    folds: tuple[FoldData, ...]
    extractor: Spec
    backbone: BackboneChoice
    device: str


def make_plan(grid: GridConfig, device: str) -> Plan:
    """Open the data sets and lay out all work.

    Raises:
        ConfigError: if a view is not offered by a data set of ready embeddings.
        DataError: if data are missing, empty, or cannot be divided.
    """
    groups: list[tuple[FoldData, ...]] = []
    notes: list[str] = []
    for spec in grid.datasets:
        source = open_source(spec, grid.limit)
        _check_ready_views(grid, source)
        try:
            folds, warnings = divide(grid.split, source.table, source.classes, source.composites())
        except DataError as error:
            raise DataError(f"data set {spec}: {error}") from error
        groups.append(tuple(FoldData(source, fold) for fold in folds))
        notes += warnings
    identity = [[each.source.fingerprint, each.fold.digest] for group in groups for each in group]
    rows: dict[str, RowPlan] = {}
    for context in _contexts(grid, groups, device):
        for row in _rows_of(grid, context):
            rows.setdefault(row.id, row)
    notes += dict.fromkeys(note for row in rows.values() for note in _learned_elsewhere(row))
    protocol = digest(identity if grid.impute == IMPUTE[0] else [identity, grid.impute])
    limits = (f", limit {grid.limit}" if grid.limit else "") + _impute_text(grid)
    data = [f"{spec}, split {grid.split}{limits}" for spec in grid.datasets]
    return Plan(grid, protocol, data, list(rows.values()), notes)


def _learned_elsewhere(row: RowPlan) -> Iterator[str]:
    """Backbones that were fine-tuned on the row's data, but not under its split: they may know what it tests."""
    backbones = {item.backbone for head in row.heads for item in head.embeddings.values() if item.backbone}
    for fold_data in dict.fromkeys(head.fold_data for head in row.heads):
        for spec in sorted(backbones, key=str):
            splits = {split for data, split in labels_learned(spec) if data == fold_data.source.fingerprint}
            if splits - {fold_data.fold.digest}:
                yield (
                    f"backbone {spec} has learned from labels of {fold_data.source.spec} under another split than "
                    f"{fold_data.fold.name}: scores on test may be too good"
                )


def _impute_text(grid: GridConfig) -> str:
    return "" if grid.impute == IMPUTE[0] else f", impute {grid.impute}"


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


def _contexts(grid: GridConfig, groups: list[tuple[FoldData, ...]], device: str) -> Iterator[_Context]:
    for group in groups:
        for extractor in grid.extractors:
            for backbone in grid.backbones:
                yield _Context(group, extractor, backbone, device)


def _rows_of(grid: GridConfig, context: _Context) -> Iterator[RowPlan]:
    """The reference's rows, then all others, the smoother turning fastest."""
    chosen = _reference(grid)
    alone = _heads(grid, context, *chosen) if chosen else ()
    references = {
        smoother: _row_plan(grid, context, alone, smoother, None) if alone else None
        for smoother in map(str, grid.smoothers)
    }
    yield from (row for row in references.values() if row)
    for regions in grid.regions:
        for fusion in grid.fusions:
            heads = _heads(grid, context, arrange(grid.main, regions), fusion)
            for smoother, reference in references.items():
                row = _row_plan(grid, context, heads, smoother, reference)
                if reference is None or row.id != reference.id:
                    yield row


def _reference(grid: GridConfig) -> tuple[dict[str, View], Spec] | None:
    if grid.reference is None:
        return None
    if isinstance(grid.reference, tuple):
        return arrange(grid.main, grid.reference), grid.fusions[0]
    assert grid.main is not None
    return {str(grid.main): grid.main}, ALONE


def _heads(grid: GridConfig, context: _Context, views: dict[str, View], fusion: Spec) -> tuple[HeadWork, ...]:
    """The heads of a fusion on some views: of each recipe of a sweep, seed and fold."""
    recipes = Recipe.sweep(getattr(FUSIONS.get(fusion.name), "recipe", {}), dict(grid.recipe))
    source = context.folds[0].source
    tokens = fit.needs_of(fusion)
    embeddings = {
        name: embedding_of(source, context.extractor, view, context.backbone.of(view), tokens, context.device)
        for name, view in views.items()
    }
    shared: dict[str, Any] = {
        "revision": fit.REVISION,
        "data": source.fingerprint,
        "embeddings": [[name, embedding.key] for name, embedding in embeddings.items()],
        "fusion": component_identity(FUSIONS, fusion),
        "device": context.device.partition(":")[0],
    }
    record = {
        "revision": fit.REVISION,
        "data": next(iter(embeddings.values())).record["data"],
        "views": {name: {**embedding.record, "data": None} for name, embedding in embeddings.items()},
        "fusion": component_record(FUSIONS, fusion, shared["fusion"]),
        "device": shared["device"],
    }

    def head(recipe: Recipe, seed: int, fold_data: FoldData) -> HeadWork:
        own = {"fold": fold_data.fold.digest, "recipe": recipe.describe(), "seed": seed}
        named = {"fold": {"name": fold_data.fold.name, "digest": fold_data.fold.digest}}
        return HeadWork(
            id=digest({**shared, **own})[:12],
            fold_data=fold_data,
            embeddings=embeddings,
            fusion=fusion,
            recipe=recipe,
            seed=seed,
            swept=len(recipes) > 1,
            record={**record, **own, **named},
        )

    return tuple(
        head(recipe, seed, fold_data) for recipe in recipes for seed in grid.seeds for fold_data in context.folds
    )


def _row_plan(
    grid: GridConfig, context: _Context, heads: tuple[HeadWork, ...], smoother: str, reference: RowPlan | None
) -> RowPlan:
    recipes = list(dict.fromkeys(head.recipe for head in heads))
    fusion, embeddings = heads[0].fusion, heads[0].embeddings
    axes = Axes(
        dataset=str(context.folds[0].source.spec),
        split=context.folds[0].fold.name if len(context.folds) == 1 else str(grid.split),
        extractor=str(context.extractor),
        backbone=str(context.backbone),
        main=str(grid.main) if grid.main else "none",
        views=",".join(embeddings),
        fusion=str(fusion),
        recipe=sweep_text(recipes),
        smoother=smoother,
    )
    spec = Spec.parse(smoother)
    how = component_identity(SMOOTHERS, spec)
    identity = {
        "main": axes.main,
        "embeddings": [[name, embedding.key] for name, embedding in embeddings.items()],
        "folds": [fold_data.fold.digest for fold_data in context.folds],
        "recipes": [recipe.describe() for recipe in recipes],
        "fusion": component_identity(FUSIONS, fusion),
        "smoother": how,
        "revisions": [fit.REVISION, smooth.REVISION, score.REVISION],
        **({} if grid.impute == IMPUTE[0] else {"impute": grid.impute}),  # rows of before keep their ids
    }
    return RowPlan(
        id=digest(identity)[:12],
        axes=axes,
        smoother=spec,
        heads=heads,
        reference=reference.id if reference else None,
        record={
            "smoother": component_record(SMOOTHERS, spec, how),
            "revisions": {"smoothing": smooth.REVISION, "scoring": score.REVISION},
            "recipe": axes.recipe,
            "impute": grid.impute,
        },
        impute=grid.impute,
    )


def check_fusions(plan: Plan) -> None:
    """Build every fusion once for each set of widths, and see that there are tokens for those that need some.

    What a fusion refuses is a wrong request; any other failure is left to its cell, which will show it.

    Raises:
        ConfigError: with everything that a fusion refuses.
    """
    import torch

    problems: list[str] = []
    seen: set[tuple[str, tuple[tuple[str, int], ...]]] = set()
    with torch.random.fork_rng(devices=[]):
        for head in plan.heads.values():
            problems += _without_tokens(head)
            widths = _widths(head)
            key = (str(head.fusion), tuple(widths.items()))
            if not widths or key in seen:
                continue
            seen.add(key)
            try:
                FUSIONS.build(head.fusion, in_dims=widths, num_classes=head.fold_data.task.num_classes)
            except ConfigError as error:
                problems += [f"fusions: {problem}" for problem in error.problems]
            except Exception:  # noqa: BLE001, S112  (a bug of the plugin, not of the request)
                continue
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _without_tokens(head: HeadWork) -> list[str]:
    """What is wrong where the fusion is one of tokens, and some view comes without."""
    if not needs_of(head.fusion):
        return []
    lacking = [
        f"backbone {embedding.backbone.name}" if embedding.backbone else f"the ready-made view {name}"
        for name, embedding in head.embeddings.items()
        if not (embedding.backbone and BACKBONES.get(embedding.backbone.name).gives_tokens())
    ]
    known = "fusionkit list backbones --long tells which have some"
    return [f"fusions: {head.fusion.name} needs tokens, and {what} has none ({known})" for what in lacking]


def _widths(head: HeadWork) -> dict[str, int]:
    """Width by view; empty where a view comes ready-made, so that its width is known only when it is read."""
    backbones = {name: embedding.backbone for name, embedding in head.embeddings.items()}
    return (
        {} if None in backbones.values() else {name: backbone_width(spec) for name, spec in backbones.items() if spec}
    )
