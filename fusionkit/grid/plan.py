"""Plan of a grid: the heads to train and the rows of cells to score, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import prod
from pathlib import Path
from typing import Any

from fusionkit.config.grid_config import IMPUTE, LABELLED, BackboneChoice, GridConfig, tasks_text
from fusionkit.config.recipe import Recipe, sweep_text
from fusionkit.config.resolver import unique
from fusionkit.config.views import FACE, View, arrange
from fusionkit.contracts.backbone import TokenCount
from fusionkit.contracts.dataset import FrameTable
from fusionkit.contracts.inputs import asks_for
from fusionkit.engine import fit, score, smooth
from fusionkit.engine.embed import Embedding, backbone_fact, embedding_of
from fusionkit.engine.features import clip_edges
from fusionkit.engine.fold import FoldData, open_folds
from fusionkit.engine.source import Source
from fusionkit.errors import ConfigError
from fusionkit.grid.axes import REFERENCE_FUSION, Axes
from fusionkit.grid.fusion_trial import fusion_problems
from fusionkit.grid.memory import GIB
from fusionkit.grid.progress import Progress
from fusionkit.grid.smoothers import acting_smoothers, rate_problems, smoother_warnings
from fusionkit.media.crops import CROPS
from fusionkit.registry import EXTRACTORS, FUSIONS, SMOOTHERS, TASKS, ComponentRegistry, did_you_mean
from fusionkit.registry.spec import Spec
from fusionkit.registry.sweep import dev_candidates
from fusionkit.storage.identity import digest
from fusionkit.storage.record import Record, component_record, identity_of


@dataclass(frozen=True, eq=False)
class HeadWork:
    """One head to train.

    Attributes:
        embeddings: by view name, main view first.
        candidate: its recipe as text, with the fusion if the dev split selects among several.
        swept: whether the recipe is one of a sweep.
        record: what the id depends on, stored with the head.
    """

    id: str
    fold_data: FoldData
    embeddings: dict[str, Embedding]
    fusion: Spec
    recipe: Recipe
    seed: int
    candidate: str
    swept: bool = False
    record: Record = field(default_factory=dict)

    @property
    def uses(self) -> dict[str, Any]:
        """Tasks, extractor and backbones that the head needs on new frames; None for the backbone of a ready view."""
        embeddings = self.embeddings.values()
        cut_out = (str(item.extractor) for item in embeddings if item.backbone and item.view != FACE)
        return {
            "tasks": [each.described() for each in self.fold_data.members],
            "extractor": next(cut_out, None),
            "backbones": {
                name: str(item.backbone) if item.backbone else None for name, item in self.embeddings.items()
            },
        }

    @property
    def name(self) -> str:
        """``views/fusion/seed``, with the recipe where it is one of a sweep."""
        name = f"{','.join(self.embeddings)}/{self.fusion}/{self.seed}"
        return f"{name} ({self.recipe})" if self.swept else name


@dataclass(frozen=True, eq=False)
class RowPlan:
    """One row: a configuration over its seeds and folds. Each seed and fold gives one cell.

    Attributes:
        heads: one per candidate (fusion and recipe), seed and fold. The cells use the candidate that is best on dev.
        reference: id of the reference row; None for a reference row itself, or without one.
        record: how cells are made of heads, stored with each cell.
        impute: prediction of frames without any view.
        member: index of its task among those that its heads have learned together.
    """

    id: str
    axes: Axes
    smoother: Spec
    heads: tuple[HeadWork, ...]
    reference: str | None
    record: Record = field(default_factory=dict)
    impute: str = IMPUTE[0]
    member: int = 0

    def fold_data(self, head: HeadWork) -> FoldData:
        """Return the fold of a head for the task of the row."""
        return head.fold_data.of(head.fold_data.tasks[self.member].spec)

    @property
    def random_backbones(self) -> list[str]:
        """Backbones of the row that have random weights."""
        embeddings = self.heads[0].embeddings.values()
        return sorted({str(item.backbone) for item in embeddings if item.random_weights})

    @cached_property
    def fusions(self) -> dict[Spec, HeadWork]:
        """Its fusions, several if the dev split selects among them, each with one of its heads."""
        return {head.fusion: head for head in self.heads}

    @property
    def components(self) -> dict[tuple[str, Spec], Record]:
        """Records of its components, by kind (plural, as a key of ``REGISTRIES``) and spec."""
        head = self.heads[0]
        found: dict[tuple[str, Spec], Record] = {("datasets", head.fold_data.source.spec): head.record["data"]}
        for embedding in head.embeddings.values():
            if embedding.record["extractor"]:
                found["extractors", embedding.extractor] = embedding.record["extractor"]
            if embedding.backbone:
                found["backbones", embedding.backbone] = embedding.record["backbone"]
        for fusion, each in self.fusions.items():
            found["fusions", fusion] = each.record["fusion"]
        found["smoothers", self.smoother] = self.record["smoother"]
        for task, record in zip(head.fold_data.tasks, head.record["tasks"], strict=True):
            found["tasks", task.spec] = record
        return found

    def cell_id(self, head: HeadWork) -> str:
        """Id of the cell of the head's seed and fold."""
        return digest([self.id, *(each.id for each in self.candidates(head))])[:12]

    def candidates(self, head: HeadWork) -> list[HeadWork]:
        """Heads of the same seed and fold, one per fusion and recipe of a sweep."""
        return self.groups[head.seed, head.fold_data]

    @cached_property
    def groups(self) -> dict[tuple[int, FoldData], list[HeadWork]]:
        """Heads by seed and fold: one group per cell."""
        found: dict[tuple[int, FoldData], list[HeadWork]] = {}
        for head in self.heads:
            found.setdefault((head.seed, head.fold_data), []).append(head)
        return found


@dataclass(frozen=True, eq=False)
class Plan:
    """All work of a grid.

    Attributes:
        protocol: identity of data, splits and imputation. Only results of one protocol are comparable.
        data: a line per data set: what the protocol stands for.
        rows: in plan order, reference rows first.
        notes: warnings about data, splits and weights.
    """

    grid: GridConfig
    protocol: str
    data: list[str]
    rows: list[RowPlan]
    notes: list[str] = field(default_factory=list)

    @property
    def backbone_notes(self) -> list[str]:
        """Messages of the backbones on the loading of their weights."""
        used = {item.backbone: None for head in self.heads.values() for item in head.embeddings.values()}
        notes = [backbone_fact(spec, lambda built: built.notes()) for spec in used if spec]
        return list(dict.fromkeys(note for each in notes for note in each))

    @property
    def components(self) -> dict[tuple[str, Spec], Record]:
        """Records of the components of all rows, by kind and spec."""
        found: dict[tuple[str, Spec], Record] = {}
        for row in self.rows:
            for component, record in row.components.items():
                found.setdefault(component, record)
        return found

    @property
    def heads(self) -> dict[str, HeadWork]:
        """Every head once, by id, in plan order."""
        return {head.id: head for row in self.rows for head in row.heads}


def make_plan(grid: GridConfig, device: str, progress: Progress | None = None) -> Plan:
    """Open the data sets and lay out all work.

    Args:
        grid: the request.
        device: of embedding and training.
        progress: receives the planned rows.

    Raises:
        ConfigError: if a data set of ready embeddings lacks a view, or with every problem of a fusion.
        DataError: if data are missing, empty, or cannot be divided.
    """
    datasets: list[tuple[FoldData, ...]] = []
    notes: list[str] = []
    tasks = unique(task for task_set in grid.task_sets for task in task_set)
    for spec in grid.datasets:
        folds, warnings = open_folds(spec, grid.split, grid.limit, tasks, grid.labels)
        _check_ready_views(grid, folds[0].source)
        datasets.append(folds)
        warnings = [*warnings, *smoother_warnings(grid.smoothers, _predicted(folds[0]))]
        warnings += _alignment_warnings(grid, folds[0].source)
        notes += [f"{spec}: {line}" for line in warnings] if len(grid.datasets) > 1 else warnings
    progress, record_of = progress or Progress(), cache(component_record)
    contexts = [
        _Context(grid, tuple(each.of(*task_set) for each in folds), extractor, backbone, device, record_of)
        for folds in datasets
        for task_set in grid.task_sets
        for extractor in grid.extractors
        for backbone in grid.backbones
    ]
    rows: dict[str, RowPlan] = {}
    with progress.stage("plan", sum(context.size for context in contexts), "rows"):
        for context in contexts:
            for row in context.rows():
                rows.setdefault(row.id, row)
                progress.advance()
    _check_smoothers(grid, datasets)
    plan = Plan(
        grid=grid,
        protocol=protocol_of((fold_data for folds in datasets for fold_data in folds), grid.impute),
        data=[data_text(spec, grid.split, grid.limit, grid.impute, grid.labels) for spec in grid.datasets],
        rows=list(rows.values()),
        notes=notes,
    )
    used = [head for row in plan.rows for head in row.fusions.values()]
    _check_task(plan)
    if problems := fusion_problems((head.fusion, head.embeddings, head.fold_data.task.outputs) for head in used):
        raise ConfigError([f"fusions: {problem}" for problem in problems])
    plan.notes.extend(dict.fromkeys([*_learned_elsewhere(plan), *_map_sizes(plan)]))
    return plan


def _check_smoothers(grid: GridConfig, datasets: Iterable[tuple[FoldData, ...]]) -> None:
    """Raise :class:`ConfigError` for smoothers that decide for classes where the task has none, or lack the rate."""
    for folds in datasets:
        if problems := list(rate_problems(grid.smoothers, _predicted(folds[0]), folds[0].source.spec)):
            raise ConfigError([f"smoothers: {problem}" for problem in problems])
    without = unique(each.spec for folds in datasets for each in folds[0].tasks if not each.task.discrete)
    deciding = [spec.name for spec in grid.smoothers if (cls := SMOOTHERS.get(spec.name)).fitted or cls.discrete]
    if without and deciding:
        raise ConfigError(
            [f"smoothers: {name} decides for classes; task {task} has none" for task in without for name in deciding]
        )


def _alignment_warnings(grid: GridConfig, source: Source) -> Iterator[str]:
    """Yield a line per extractor whose boxes do not fit the crops of ``fusionkit align`` or Aff-Wild2."""
    sets = [*grid.regions, *([grid.reference] if isinstance(grid.reference, tuple) else [])]
    cut_out = any(view != FACE for region_set in sets for view in region_set)
    aligned = any(part.startswith(CROPS) for part in Path(source.where(0)).parts)
    if source.dataset.views or not cut_out or not aligned:
        return
    for spec in grid.extractors:
        if note := EXTRACTORS.build(spec).aligned_note:
            yield f"extractor {spec}: {note}"


def protocol_of(folds: Iterable[FoldData], impute: str) -> str:
    """Identity of data, splits and imputation."""
    return digest([[[each.source.fingerprint, each.fold.digest, each.labels_digest] for each in folds], impute])


def data_text(dataset: Spec, split: Spec, limit: int | None, impute: str, labels: str = LABELLED[0]) -> str:
    """A data set, its split, and limit, imputation and what is labelled where they are not the default."""
    return (
        f"{dataset}, split {split}"
        + (f", limit {limit}" if limit else "")
        + (f", impute {impute}" if impute != IMPUTE[0] else "")
        + (f", labels {labels}" if labels != LABELLED[0] else "")
    )


def _predicted(fold_data: FoldData) -> FrameTable:
    """Return the rows of a data set that have one prediction each: all frames, or the first frame of each clip."""
    table = fold_data.source.table
    return table if fold_data.labels == "frame" else table.take(clip_edges(table.clip_index)[:-1])


def _check_ready_views(grid: GridConfig, source: Source) -> None:
    offered = source.dataset.views
    sets = [*grid.regions, *([grid.reference] if isinstance(grid.reference, tuple) else [])]
    views = {str(view) for region_set in sets for view in region_set} | ({str(grid.main)} if grid.main else set())
    if offered and views - set(offered):
        lacking = min(views - set(offered))
        raise ConfigError(
            f"regions: data set {source.spec} has no view {lacking!r}{did_you_mean(lacking, offered)}; "
            f"available views: {', '.join(offered)}"
        )


@dataclass(frozen=True)
class _Context:
    """One data set, extractor and backbone of a grid: what rows share with their reference row.

    Attributes:
        record_of: :func:`component_record`, which reads files, once per component.
    """

    grid: GridConfig
    folds: tuple[FoldData, ...]
    extractor: Spec
    backbone: BackboneChoice
    device: str
    record_of: Callable[[ComponentRegistry, Spec], Record]

    @property
    def size(self) -> int:
        """Number of rows that :meth:`rows` yields at most."""
        references = self.grid.reference is not None
        rows = len(self.grid.regions) * len(self.grid.fusions) + references
        return rows * len(self.smoothers) * len(self.tasks)

    @property
    def source(self) -> Source:
        return self.folds[0].source

    @property
    def tasks(self) -> tuple[Spec, ...]:
        """Tasks that the heads learn together."""
        return tuple(each.spec for each in self.folds[0].tasks)

    @cached_property
    def embeddings(self) -> dict[tuple[View, TokenCount], Embedding]:
        """By view and tokens, those that were identified so far."""
        return {}

    @cached_property
    def smoothers(self) -> tuple[Spec, ...]:
        return acting_smoothers(self.grid.smoothers, _predicted(self.folds[0]))

    def rows(self) -> Iterator[RowPlan]:
        """Reference rows, then all others; the smoother changes fastest, then the task."""
        grid, references = self.grid, dict[tuple[int, Spec], RowPlan]()
        read = [(member, smoother) for member in range(len(self.tasks)) for smoother in self.smoothers]
        if grid.reference is not None:
            region_set = grid.reference if isinstance(grid.reference, tuple) else None
            fusion = grid.fusions[0] if region_set else REFERENCE_FUSION
            heads = self._heads(arrange(grid.main, region_set or ()), fusion)
            references = {each: self._row(fusion, heads, *each, None) for each in read}
        yield from references.values()
        for regions in grid.regions:
            for fusion in grid.fusions:
                heads = self._heads(arrange(grid.main, regions), fusion)
                for each in read:
                    reference = references.get(each)
                    row = self._row(fusion, heads, *each, reference)
                    if reference is None or row.id != reference.id:
                        yield row

    def _heads(self, views: dict[str, View], requested: Spec) -> tuple[HeadWork, ...]:
        """One head per candidate of the fusion, recipe, seed and fold."""
        fusions = dev_candidates(FUSIONS, requested)
        return tuple(head for fusion in fusions for head in self._heads_of(views, fusion, named=len(fusions) > 1))

    def _heads_of(self, views: dict[str, View], fusion: Spec, *, named: bool) -> tuple[HeadWork, ...]:
        recipes = Recipe.sweep(getattr(FUSIONS.get(fusion.name), "recipe", {}), dict(self.grid.recipe))
        tokens = fit.tokens_needed(fusion)
        embeddings = {name: self._embedding(view, tokens) for name, view in views.items()}
        record: Record = {
            "revision": fit.REVISION,
            "data": self.source.record,
            "views": {name: {**embedding.record, "data": None} for name, embedding in embeddings.items()},
            "tasks": [self.record_of(TASKS, spec) for spec in self.tasks],
            "labels": self.folds[0].labels_digest,
            "fusion": self.record_of(FUSIONS, fusion),
            "device": self.device.partition(":")[0],
        }
        identity = {
            "revision": fit.REVISION,
            "data": self.source.fingerprint,
            "tasks": [identity_of(each) for each in record["tasks"]],
            "labels": self.folds[0].labels_digest,
            "embeddings": [[name, embedding.key] for name, embedding in embeddings.items()],
            "fusion": identity_of(record["fusion"]),
            "device": record["device"],
        }

        def head(recipe: Recipe, described: dict[str, Any], seed: int, fold_data: FoldData) -> HeadWork:
            fold, own = fold_data.fold, {"recipe": described, "seed": seed}
            return HeadWork(
                id=digest({**identity, **own, "fold": fold.digest})[:12],
                fold_data=fold_data,
                embeddings=embeddings,
                fusion=fusion,
                recipe=recipe,
                seed=seed,
                candidate=f"{fusion} ({recipe})" if named else str(recipe),
                swept=len(recipes) > 1,
                record={**record, **own, "fold": {"name": fold.name, "digest": fold.digest}},
            )

        return tuple(
            head(recipe, described, seed, each)
            for recipe, described in [(recipe, recipe.describe()) for recipe in recipes]
            for seed in self.grid.seeds
            for each in self.folds
        )

    def _embedding(self, view: View, tokens: TokenCount) -> Embedding:
        if (view, tokens) not in self.embeddings:
            backbone = self.backbone.of(view)
            found = embedding_of(self.source, self.extractor, view, backbone, tokens, self.device)
            self.embeddings[view, tokens] = found
        return self.embeddings[view, tokens]

    def _row(
        self, fusion: Spec, heads: tuple[HeadWork, ...], member: int, smoother: Spec, reference: RowPlan | None
    ) -> RowPlan:
        grid, embeddings = self.grid, heads[0].embeddings
        fusions = [identity_of(record) for record in {head.fusion: head.record["fusion"] for head in heads}.values()]
        recipes = list(dict.fromkeys(head.recipe for head in heads))
        is_ready = not any(item.backbone for item in embeddings.values())
        axes = Axes(
            dataset=str(self.source.spec),
            split=self.folds[0].fold.name if len(self.folds) == 1 else str(grid.split),
            extractor="none" if is_ready else str(self.extractor),
            backbone="none" if is_ready else str(self.backbone),
            main=str(grid.main) if grid.main else "none",
            views=",".join(embeddings),
            fusion=str(fusion),
            recipe=sweep_text(recipes),
            smoother=str(smoother),
            task=str(self.tasks[member]),
            learned_with=tasks_text(self.tasks[:member] + self.tasks[member + 1 :]) or "none",
            labels=grid.labels,
        )
        smoother_record = self.record_of(SMOOTHERS, smoother)
        # The rates of the clips decide the result of smoothers that get the clip, if any is known.
        rates = self.source.table.rates if asks_for(SMOOTHERS.get(smoother.name).smooth, "clip") else ""
        known = {"rates": rates} if rates else {}
        identity = {
            "main": axes.main,
            "embeddings": [[name, embedding.key] for name, embedding in embeddings.items()],
            "folds": [fold_data.fold.digest for fold_data in self.folds],
            "tasks": [[identity_of(each) for each in heads[0].record["tasks"]], member, self.folds[0].labels_digest],
            "recipes": [recipe.describe() for recipe in recipes],
            "fusion": fusions if len(fusions) > 1 else fusions[0],
            "smoother": identity_of(smoother_record),
            "revisions": [fit.REVISION, smooth.REVISION, score.REVISION],
            "impute": grid.impute,
            **known,
        }
        return RowPlan(
            id=digest(identity)[:12],
            axes=axes,
            smoother=smoother,
            heads=heads,
            reference=reference.id if reference else None,
            record={
                "smoother": smoother_record,
                "revisions": {"smoothing": smooth.REVISION, "scoring": score.REVISION},
                "recipe": axes.recipe,
                "impute": grid.impute,
                **known,
            },
            impute=grid.impute,
            member=member,
        )


def _check_task(plan: Plan) -> None:
    """Check that fusions and recipe go with the task.

    Raises:
        ConfigError: with every problem.
    """
    recipe = dict(plan.grid.recipe)
    if "task_weighting" in recipe and all(len(task_set) == 1 for task_set in plan.grid.task_sets):
        raise ConfigError("recipe: option task_weighting needs tasks that are learned together (task=one,other)")
    heads = {(head.fusion, head.fold_data.task): head for row in plan.rows for head in row.fusions.values()}
    if problems := [problem for head in heads.values() if (problem := _without_classes(head, recipe))]:
        raise ConfigError(list(dict.fromkeys(problems)))


def _without_classes(head: HeadWork, recipe: dict[str, Any]) -> str:
    """Return why a fusion or the recipe does not go with the task; an empty text if they do."""
    task, spec = head.fold_data.task, head.fold_data.task_text
    needs = getattr(FUSIONS.get(head.fusion.name), "needs", "pooled")
    if head.fold_data.labels == "clip" and needs != "pooled":
        what = {"clip": "neighbouring frames", "map": "maps"}.get(needs, "tokens")
        return f"fusions: {head.fusion.name} works on {what}; labels = clip gives pooled embeddings of clips"
    if not task.exclusive and FUSIONS.get(head.fusion.name).exclusive:
        return f"fusions: {head.fusion.name} gives one distribution over classes; task {spec} has none"
    if problem := _without_weights(head):
        return problem
    if unused := task.unused(recipe):
        return f"recipe: option {', '.join(unused)} has no effect with task {spec}"
    if head.recipe.gradient_modulation and not task.exclusive:
        return f"recipe: option gradient_modulation needs one distribution over classes; task {spec} has none"
    return ""


def _without_weights(head: HeadWork) -> str:
    """Return why the weighting of tasks does not fit those that are learned together; an empty text if it does."""
    weights, tasks = head.recipe.task_weights, head.fold_data.tasks
    if len(weights) in (0, len(tasks)) or len(tasks) == 1:
        return ""
    given = f"option task_weighting = {head.recipe.task_weighting!r} has {len(weights)} weights"
    return f"recipe: {given}; task {head.fold_data.task_text} has {len(tasks)} tasks"


def _map_sizes(plan: Plan) -> Iterator[str]:
    """Yield what the maps of views take: on disk all of them, in memory those of one head."""
    sizes: dict[str, int] = {}  # values by key of the embedding
    most = 0
    for head in plan.heads.values():
        own = 0
        for item in head.embeddings.values():
            if item.tokens == "map" and item.backbone:
                shape = backbone_fact(item.backbone, lambda built: built.feature_shape("map"))
                sizes[item.key] = len(head.fold_data.source.table) * prod(shape)
                own += sizes[item.key]
        most = max(most, own)
    if sizes:
        yield (
            f"maps of {len(sizes)} view(s) take {_bytes(2 * sum(sizes.values()))} in the cache, and those of a head "
            f"{_bytes(4 * most)} in memory, or are read from the cache in each epoch (--memory)"
        )


def _bytes(size: int) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= GIB else f"{size / 2**20:.4g} MiB"


def _learned_elsewhere(plan: Plan) -> Iterator[str]:
    """Warnings about backbones fine-tuned on the same data under another split: training may have seen test frames."""
    used = {(head.fold_data, item.backbone): None for head in plan.heads.values() for item in head.embeddings.values()}
    for fold_data, backbone in used:
        learned = backbone_fact(backbone, lambda built: built.trained_on()) if backbone else ()
        splits = {split for data, split in learned if data == fold_data.source.fingerprint}
        if splits - {fold_data.fold.digest}:
            yield (
                f"backbone {backbone} has learned from labels of {fold_data.source.spec} under another split than "
                f"{fold_data.fold.name}: scores on test may be too good"
            )
