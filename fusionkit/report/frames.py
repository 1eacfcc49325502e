"""The numbers of the report as flat tables, for data frames: rows, cells, costs, classes and confusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from fusionkit.contracts.task import Task
from fusionkit.grid.axes import Axes
from fusionkit.grid.results import Row, RunResults
from fusionkit.report.csv_files import (
    AXES,
    COST_COLUMNS,
    cell_columns,
    cell_lines,
    cost_lines,
    estimate_fields,
    result_columns,
    result_lines,
)

FrameName = Literal["rows", "cells", "costs", "classes", "confusion"]
CLASS_COLUMNS = (*AXES, "id", "class", "n_units", "n_frames")
CONFUSION_COLUMNS = (*AXES, "id", "truth", "prediction", "n_frames", "share")


@dataclass(frozen=True, eq=False)
class RowCounts:
    """A row with a score, and its counts (S, *shape) over all units."""

    row: Row
    counts: np.ndarray

    @property
    def axes(self) -> Axes:
        """Axes of the row."""
        return self.row.axes

    @property
    def task(self) -> Task:
        """Prediction task of the row."""
        return self.row.task

    def confusion(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return mean counts over seeds, and their shares of the frames of each true class, (C, C) each.

        The shares of a class without frames are NaN. None if the task has no confusion matrix.
        """
        counts = self.task.confusion(self.counts)
        if counts is None:
            return None
        mean = counts.mean(0)
        truth = mean.sum(-1, keepdims=True)
        return mean, np.divide(mean, truth, out=np.full(mean.shape, np.nan), where=truth > 0)


def row_counts(results: RunResults) -> Iterator[RowCounts]:
    """Yield the rows that have a score, in plan order."""
    for row in results.rows:
        if row.score:
            stored = results.stored[row.id]
            yield RowCounts(row, np.stack([counts.sum(0) for counts in stored.counts.values()]))


def frame_lines(results: RunResults, name: FrameName) -> tuple[tuple[str, ...], list[Mapping[str, Any]]]:
    """Return the columns and the lines of a table; fields of a line that are absent are unknown."""
    if name == "rows":
        return result_columns(results), [*result_lines(results)]
    if name == "cells":
        return cell_columns(results), [*cell_lines(results)]
    if name == "costs":
        return COST_COLUMNS, [*cost_lines(results)]
    if name == "classes":
        scores = dict.fromkeys(row.task.score_key for row in results.rows)
        ends = (f"{score}{end}" for score in scores for end in ("", "_lo", "_hi"))
        return (*CLASS_COLUMNS, *ends, "predicted"), [*_class_lines(results)]
    return CONFUSION_COLUMNS, [*_confusion_lines(results)]


def _class_lines(results: RunResults) -> Iterator[dict[str, Any]]:
    for row in results.rows:
        if not row.score:
            continue
        support = results.stored[row.id].support
        for index, (name, score) in enumerate(row.parts.items()):
            yield {
                **asdict(row.axes),
                "id": row.id,
                "class": name,
                "n_units": int((support[:, index] > 0).sum()),
                "n_frames": int(support[:, index].sum()),
                **estimate_fields(row.task.score_key, score),
                "predicted": row.predicted.get(name),
            }


def _confusion_lines(results: RunResults) -> Iterator[dict[str, Any]]:
    for each in row_counts(results):
        found = each.confusion()
        if found is None:
            continue
        mean, shares = found
        for i, truth in enumerate(each.task.names):
            for j, prediction in enumerate(each.task.names):
                yield {
                    **asdict(each.axes),
                    "id": each.row.id,
                    "truth": truth,
                    "prediction": prediction,
                    "n_frames": float(mean[i, j]),
                    "share": float(shares[i, j]),
                }
