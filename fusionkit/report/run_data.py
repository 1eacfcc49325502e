"""Data sets of a run folder, opened again to show frames and annotations beside predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fusionkit.engine.fold import FoldData, described, open_folds
from fusionkit.engine.source import Source
from fusionkit.errors import FusionKitError
from fusionkit.registry.spec import Spec

if TYPE_CHECKING:
    from fusionkit.grid.plan import Plan


@dataclass(frozen=True, eq=False)
class RunData:
    """Opened data sets of a run folder.

    Attributes:
        folds: by data set and task as named in the rows, by name of fold.
        notes: one line for each data set that could not be opened.
    """

    folds: Mapping[str, Mapping[str, FoldData]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, plan: Plan) -> RunData:
        """Return the data that a plan has opened already."""
        folds: dict[str, dict[str, FoldData]] = {}
        for row in plan.rows:
            for head in row.heads:
                folds.setdefault(row.axes.dataset, {})[head.fold_data.fold.name] = head.fold_data
        return cls(folds)

    def source(self, dataset: str) -> Source | None:
        """Return a data set; None if it could not be opened."""
        return next((fold_data.source for fold_data in self.folds.get(dataset, {}).values()), None)


def open_run_data(grid: dict[str, Any]) -> RunData:
    """Open the data sets of a run folder with the splits of its grids.

    Args:
        grid: content of ``grid.json``.
    """
    folds, notes = {}, []
    descriptions = [item["description"] for item in grid["grids"]]
    for dataset in dict.fromkeys(entry["axes"]["dataset"] for entry in grid["rows"]):
        description = next((each for each in descriptions if dataset in each["datasets"]), None)
        if description is None:
            notes.append(f"{dataset}: grid.json does not describe its grid")
            continue
        try:
            opened, _ = open_folds(Spec.parse(dataset), *described(description))
        except FusionKitError as error:
            notes.append(f"{dataset}: {error}")
            continue
        folds[dataset] = {fold_data.fold.name: fold_data for fold_data in opened}
    return RunData(folds, tuple(notes))
