"""What a fine-tuning has to do, laid out as the plan of a bench: its networks are heads, its shapes are rows.

So their logits are smoothed, scored, compared and merged as those of a bench on the same data and split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fusionkit.config.grid_config import IMPUTE, BackboneChoice, GridConfig
from fusionkit.config.views import FACE, View
from fusionkit.engine import score, smooth
from fusionkit.engine.fold import FoldData, open_folds
from fusionkit.engine.source import Source
from fusionkit.grid.axes import Axes
from fusionkit.grid.plan import HeadWork, Plan, RowPlan, data_text, protocol_of
from fusionkit.registry import BACKBONES, EXTRACTORS, SMOOTHERS
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import component_identity, digest
from fusionkit.storage.record import Record, component_record, identity_of
from fusionkit.training.finetune_config import FinetuneConfig, FusionShape

REVISION = 1  # raise when the same config gives other weights than before
MAKER = "fusionkit finetune"  # stands where a record names the distribution of a fusion


@dataclass(frozen=True, eq=False)
class FinetuneWork:
    """One network to train.

    Attributes:
        head: as the bench would call it: its id and record.
        views: by name, main view first.
    """

    shape: FusionShape
    head: HeadWork
    views: dict[str, View]

    @property
    def fold_data(self) -> FoldData:
        """Data and fold."""
        return self.head.fold_data

    @property
    def seed(self) -> int:
        """Of new weights, order, crops and what is drawn in training."""
        return self.head.seed

    @property
    def name(self) -> str:
        """Of a folder: shape, seed and fold."""
        fold = self.fold_data.fold.name
        return f"{self.shape.folder}-seed{self.seed}" + (f"-{fold.replace('/', '')}" if "/" in fold else "")


@dataclass(frozen=True, eq=False)
class FinetunePlan:
    """All networks of a fine-tuning.

    Attributes:
        plan: as a run folder takes it.
        works: in the order in which they are trained.
    """

    plan: Plan
    works: list[FinetuneWork]


def lay_out(config: FinetuneConfig, device: str) -> FinetunePlan:
    """Open the data set, divide it as the bench does, and lay out all work.

    Raises:
        DataError: if data are missing, empty, or cannot be divided.
    """
    folds, notes = open_folds(config.dataset, config.split, config.limit)
    works = {shape: _works(config, shape, folds, device) for shape in config.shapes}
    rows: list[RowPlan] = []
    for smoother in config.smoothers:
        alike = [_row_plan(config, shape, works[shape], smoother) for shape in config.shapes]
        alone = next((row for row, shape in zip(alike, config.shapes, strict=True) if shape.position == "alone"), None)
        rows += [row if alone is None or row is alone else replace(row, reference=alone.id) for row in alike]
    plan = Plan(
        grid=_as_grid(config),
        protocol=protocol_of(folds, IMPUTE[0]),
        data=[data_text(config.dataset, config.split, config.limit, IMPUTE[0])],
        rows=rows,
        notes=notes,
    )
    return FinetunePlan(plan, [work for shape in config.shapes for work in works[shape]])


def _works(config: FinetuneConfig, shape: FusionShape, folds: Sequence[FoldData], device: str) -> list[FinetuneWork]:
    source, views = folds[0].source, config.views(shape)
    shared: Record = {
        "revision": REVISION,
        "data": source.record,
        "views": _view_records(config, views),
        "fusion": _fusion_record(shape),
        "recipe": config.recipe.describe(),
        "device": device.partition(":")[0],
    }
    identity = {**shared, "data": source.fingerprint, "views": _view_identities(config, views)}
    works = []
    for seed in config.seeds:
        for fold_data in folds:
            own = {"fold": fold_data.fold.digest, "seed": seed}
            record = {**shared, "seed": seed, "fold": {"name": fold_data.fold.name, "digest": fold_data.fold.digest}}
            head = HeadWork(
                id=digest({**identity, **own})[:12],
                fold_data=fold_data,
                embeddings={},
                fusion=shape.spec,
                recipe=config.recipe.as_recipe(),
                seed=seed,
                record=record,
            )
            works.append(FinetuneWork(shape, head, views))
    return works


def _view_identities(config: FinetuneConfig, views: dict[str, View]) -> list[Any]:
    """What decides the pixels, and what training begins with."""
    cut_out = any(view != FACE for view in views.values())
    where = component_identity(EXTRACTORS, config.extractor) if cut_out else None
    return [list(map(str, views.values())), where, component_identity(BACKBONES, config.backbone)]


def _view_records(config: FinetuneConfig, views: dict[str, View]) -> Record:
    backbone = component_record(BACKBONES, config.backbone)
    cut_out = any(view != FACE for view in views.values())
    extractor = component_record(EXTRACTORS, config.extractor) if cut_out else None
    return {
        name: {"view": str(view), "extractor": None if view == FACE else extractor, "backbone": backbone}
        for name, view in views.items()
    }


def _fusion_record(shape: FusionShape) -> Record:
    spec = shape.spec
    return {
        "name": spec.name,
        "options": dict(spec.options),
        "revision": REVISION,
        "source": "",
        "files": [],
        "distribution": MAKER,
    }


def _row_plan(config: FinetuneConfig, shape: FusionShape, works: list[FinetuneWork], smoother: Spec) -> RowPlan:
    source: Source = works[0].fold_data.source
    views = works[0].views
    folds = list(dict.fromkeys(work.fold_data for work in works))
    axes = Axes(
        dataset=str(source.spec),
        split=folds[0].fold.name if len(folds) == 1 else str(config.split),
        extractor=str(config.extractor),
        backbone=str(config.backbone),
        main=str(config.view),
        views=",".join(views),
        fusion=str(shape.spec),
        recipe=str(config.recipe),
        smoother=str(smoother),
    )
    how = component_record(SMOOTHERS, smoother)
    identity = {
        "views": _view_identities(config, views),
        "data": source.fingerprint,
        "folds": [fold_data.fold.digest for fold_data in folds],
        "recipe": config.recipe.describe(),
        "fusion": str(shape.spec),
        "smoother": identity_of(how),
        "revisions": [REVISION, smooth.REVISION, score.REVISION],
    }
    return RowPlan(
        id=digest(identity)[:12],
        axes=axes,
        smoother=smoother,
        heads=tuple(work.head for work in works),
        reference=None,
        record={
            "smoother": how,
            "revisions": {"smoothing": smooth.REVISION, "scoring": score.REVISION},
            "recipe": axes.recipe,
            "impute": IMPUTE[0],
        },
    )


def _as_grid(config: FinetuneConfig) -> GridConfig:
    """The request in the words of a bench, for ``grid.json``."""
    return GridConfig(
        name=config.name,
        datasets=(config.dataset,),
        split=config.split,
        extractors=(config.extractor,),
        backbones=(BackboneChoice(config.backbone),),
        main=config.view,
        regions=(config.auxiliary,) if config.auxiliary else (),
        fusions=tuple(shape.spec for shape in config.shapes),
        smoothers=config.smoothers,
        recipe=tuple(sorted(config.recipe.describe().items())),
        seeds=config.seeds,
        reference=None,
        limit=config.limit,
    )
