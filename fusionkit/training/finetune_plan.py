"""Plan of a fine-tuning, in the terms of a bench: each network is a head, each fusion shape with a smoother is a row.

Logits of networks are smoothed, scored, compared and merged like those of a bench on the same data and split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from fusionkit.config.grid_config import IMPUTE, BackboneChoice, GridConfig
from fusionkit.config.splits import check_training_labels
from fusionkit.config.views import FACE, View
from fusionkit.engine import score, smooth
from fusionkit.engine.fold import FoldData, open_folds
from fusionkit.grid.axes import Axes
from fusionkit.grid.plan import HeadWork, Plan, RowPlan, data_text, protocol_of
from fusionkit.grid.smoothers import acting_smoothers, smoother_warnings
from fusionkit.registry import BACKBONES, EXTRACTORS, SMOOTHERS
from fusionkit.registry.spec import Spec
from fusionkit.storage.identity import digest
from fusionkit.storage.record import Record, component_record, identity_of
from fusionkit.training.finetune_config import FinetuneConfig, FusionShape

REVISION = 1  # raise when the same config gives other weights than before
MAKER = "fusionkit finetune"  # in place of the distribution in the record of a fusion


@dataclass(frozen=True, eq=False)
class FinetuneWork:
    """One network to train.

    Attributes:
        head: its id and record, as for a head of a bench.
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
        """Seed of new weights, order, crops and random draws in training."""
        return self.head.seed

    @property
    def name(self) -> str:
        """Name of the folder: shape, seed and fold."""
        fold = self.fold_data.fold.name
        return f"{self.shape.folder}-seed{self.seed}" + (f"-{fold.replace('/', '')}" if "/" in fold else "")


@dataclass(frozen=True, eq=False)
class FinetunePlan:
    """All networks of a fine-tuning.

    Attributes:
        plan: for the run folder.
        works: networks, in the order of training.
    """

    plan: Plan
    works: list[FinetuneWork]


def make_finetune_plan(config: FinetuneConfig, device: str) -> FinetunePlan:
    """Open and divide the data set like a bench, and plan every network and row.

    Raises:
        DataError: if data are missing, empty, or cannot be divided, or a fold lacks a class in train.
    """
    folds, notes = open_folds(config.dataset, config.split, config.limit)
    for each in folds:  # before hours of training for a score that cannot be computed
        check_training_labels(each.fold.name, each.task, each.rows.train_label)
    planned = [_ShapePlan(config, shape, folds, device) for shape in config.shapes]
    rows: list[RowPlan] = []
    for smoother in acting_smoothers(config.smoothers, folds[0].source.table):
        alike = [item.row(smoother) for item in planned]
        alone = next((row for row, shape in zip(alike, config.shapes, strict=True) if shape.position == "alone"), None)
        rows += [row if alone is None or row is alone else replace(row, reference=alone.id) for row in alike]
    plan = Plan(
        grid=_as_grid(config),
        protocol=protocol_of(folds, IMPUTE[0]),
        data=[data_text(config.dataset, config.split, config.limit, IMPUTE[0])],
        rows=rows,
        notes=[*notes, *smoother_warnings(config.smoothers, folds[0].source.table)],
    )
    return FinetunePlan(plan, [FinetuneWork(item.shape, head, item.views) for item in planned for head in item.heads])


@dataclass(frozen=True)
class _ShapePlan:
    """Networks and rows of one fusion shape."""

    config: FinetuneConfig
    shape: FusionShape
    folds: tuple[FoldData, ...]
    device: str

    @cached_property
    def views(self) -> dict[str, View]:
        return self.config.views(self.shape)

    @cached_property
    def backbone(self) -> Record:
        return component_record(BACKBONES, self.config.backbone)

    @cached_property
    def extractor(self) -> Record | None:
        cropped = any(view != FACE for view in self.views.values())
        return component_record(EXTRACTORS, self.config.extractor) if cropped else None

    @property
    def identity(self) -> list[Any]:
        """What decides the pixels and the initial weights."""
        extractor = identity_of(self.extractor) if self.extractor else None
        return [list(map(str, self.views.values())), extractor, identity_of(self.backbone)]

    @cached_property
    def heads(self) -> tuple[HeadWork, ...]:
        source, spec = self.folds[0].source, self.shape.spec
        record: Record = {
            "revision": REVISION,
            "data": source.record,
            "views": {
                name: {
                    "view": str(view),
                    "extractor": None if view == FACE else self.extractor,
                    "backbone": self.backbone,
                }
                for name, view in self.views.items()
            },
            "fusion": {
                "name": spec.name,
                "options": dict(spec.options),
                "revision": REVISION,
                "source": "",
                "files": [],
                "distribution": MAKER,
            },
            "recipe": self.config.recipe.describe(),
            "device": self.device.partition(":")[0],
        }
        identity = {**record, "data": source.fingerprint, "views": self.identity}

        def head(seed: int, fold_data: FoldData) -> HeadWork:
            fold = fold_data.fold
            return HeadWork(
                id=digest({**identity, "seed": seed, "fold": fold.digest})[:12],
                fold_data=fold_data,
                embeddings={},
                fusion=spec,
                recipe=self.config.recipe.as_recipe(),
                seed=seed,
                candidate=str(self.config.recipe.as_recipe()),
                record={**record, "seed": seed, "fold": {"name": fold.name, "digest": fold.digest}},
            )

        return tuple(head(seed, fold_data) for seed in self.config.seeds for fold_data in self.folds)

    def row(self, smoother: Spec) -> RowPlan:
        config, source = self.config, self.folds[0].source
        axes = Axes(
            dataset=str(source.spec),
            split=self.folds[0].fold.name if len(self.folds) == 1 else str(config.split),
            extractor=str(config.extractor),
            backbone=str(config.backbone),
            main=str(config.view),
            views=",".join(self.views),
            fusion=str(self.shape.spec),
            recipe=str(config.recipe),
            smoother=str(smoother),
        )
        smoother_record = component_record(SMOOTHERS, smoother)
        identity = {
            "views": self.identity,
            "data": source.fingerprint,
            "folds": [fold_data.fold.digest for fold_data in self.folds],
            "recipe": config.recipe.describe(),
            "fusion": str(self.shape.spec),
            "smoother": identity_of(smoother_record),
            "revisions": [REVISION, smooth.REVISION, score.REVISION],
        }
        return RowPlan(
            id=digest(identity)[:12],
            axes=axes,
            smoother=smoother,
            heads=self.heads,
            reference=None,
            record={
                "smoother": smoother_record,
                "revisions": {"smoothing": smooth.REVISION, "scoring": score.REVISION},
                "recipe": axes.recipe,
                "impute": IMPUTE[0],
            },
        )


def _as_grid(config: FinetuneConfig) -> GridConfig:
    """Return the request in the terms of a bench, for ``grid.json``."""
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
