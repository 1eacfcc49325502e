"""The data that a folder's rows were tested on, opened again to show frames and truth beside what was predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusionkit.engine.fold import FoldData, open_folds
from fusionkit.engine.source import Source
from fusionkit.errors import FusionKitError
from fusionkit.registry.spec import Spec

if TYPE_CHECKING:
    from fusionkit.grid.plan import Plan


@dataclass(frozen=True, eq=False)
class TestedData:
    """What could be opened.

    Attributes:
        folds: by data set as the rows name it, by fold.
        notes: a line for each data set that could not.
    """

    folds: Mapping[str, Mapping[str, FoldData]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: Plan) -> TestedData:
        """What a plan has opened already."""
        folds: dict[str, dict[str, FoldData]] = {}
        for row in plan.rows:
            for head in row.heads:
                folds.setdefault(row.axes.dataset, {})[head.fold_data.fold.name] = head.fold_data
        return cls(folds)

    def source(self, dataset: str) -> Source | None:
        """The data set; None where it could not be opened."""
        return next((fold_data.source for fold_data in self.folds.get(dataset, {}).values()), None)


def open_tested_data(grid: dict[str, Any]) -> TestedData:
    """The data sets of a folder, each divided as its grids did; what cannot be opened is noted and left out."""
    folds, notes = {}, []
    for dataset in dict.fromkeys(entry["axes"]["dataset"] for entry in grid["rows"]):
        described = next((each for each in _described(grid) if dataset in each["datasets"]), None)
        if described is None:
            notes.append(f"{dataset}: its grid is not noted in the folder")
            continue
        try:
            opened, _ = open_folds(Spec.parse(dataset), Spec.parse(described["split"]), described["limit"])
        except FusionKitError as error:
            notes.append(f"{dataset}: {error}")
            continue
        folds[dataset] = {fold_data.fold.name: fold_data for fold_data in opened}
    return TestedData(folds, tuple(notes))


def _described(grid: dict[str, Any]) -> list[dict[str, Any]]:
    return [item["description"] for item in grid["grids"]]
