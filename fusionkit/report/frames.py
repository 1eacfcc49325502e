"""The numbers of the report as flat tables, for data frames: rows, cells, costs, classes and confusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from fusionkit.grid.axes import Axes
from fusionkit.grid.results import Row, RunResults
from fusionkit.report.csv_files import (
    AXES,
    CELL_COLUMNS,
    COST_COLUMNS,
    cell_lines,
    cost_lines,
    estimate_fields,
    result_columns,
    result_lines,
)

FrameName = Literal["rows", "cells", "costs", "classes", "confusion"]
CLASS_COLUMNS = (*AXES, "id", "class", "n_units", "n_frames", "f1", "f1_lo", "f1_hi", "predicted")
CONFUSION_COLUMNS = (*AXES, "id", "truth", "prediction", "n_frames", "share")


@dataclass(frozen=True, eq=False)
class RowCounts:
    """A row with a score, its counts (S, C, C) over all units, rows truth, and the class names."""

    row: Row
    counts: np.ndarray
    classes: list[str]

    @property
    def axes(self) -> Axes:
        """Axes of the row."""
        return self.row.axes

    def confusion(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean over seeds of the counts, and their shares of the frames of each true class, (C, C) each.

        The shares of a class without frames are NaN.
        """
        mean = self.counts.mean(0)
        truth = mean.sum(-1, keepdims=True)
        return mean, np.divide(mean, truth, out=np.full(mean.shape, np.nan), where=truth > 0)


def row_counts(results: RunResults) -> Iterator[RowCounts]:
    """Yield the rows that have a score, in plan order."""
    for row in results.rows:
        if row.score:
            stored = results.stored[row.id]
            yield RowCounts(row, np.stack([counts.sum(0) for counts in stored.counts.values()]), stored.classes)


def frame_lines(results: RunResults, name: FrameName) -> tuple[tuple[str, ...], list[Mapping[str, Any]]]:
    """Return the columns and the lines of a table; fields of a line that are absent are unknown."""
    if name == "rows":
        return result_columns(results), [*result_lines(results)]
    if name == "cells":
        return CELL_COLUMNS, [*cell_lines(results)]
    if name == "costs":
        return COST_COLUMNS, [*cost_lines(results)]
    if name == "classes":
        return CLASS_COLUMNS, [*_class_lines(results)]
    return CONFUSION_COLUMNS, [*_confusion_lines(results)]


def _class_lines(results: RunResults) -> Iterator[dict[str, Any]]:
    for row in results.rows:
        if not row.score:
            continue
        truth = results.stored[row.id].truth
        for index, (name, f1) in enumerate(row.classes.items()):
            yield {
                **asdict(row.axes),
                "id": row.id,
                "class": name,
                "n_units": int((truth[:, index] > 0).sum()),
                "n_frames": int(truth[:, index].sum()),
                **estimate_fields("f1", f1),
                "predicted": row.predicted[name],
            }


def _confusion_lines(results: RunResults) -> Iterator[dict[str, Any]]:
    for each in row_counts(results):
        mean, shares = each.confusion()
        for i, truth in enumerate(each.classes):
            for j, prediction in enumerate(each.classes):
                yield {
                    **asdict(each.axes),
                    "id": each.row.id,
                    "truth": truth,
                    "prediction": prediction,
                    "n_frames": float(mean[i, j]),
                    "share": float(shares[i, j]),
                }
