"""Average ranks of rows over data sets or, on a single data set, over folds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from rich.table import Table
from rich.text import Text

from fusionkit.grid.axes import Axes
from fusionkit.grid.contrasts import StoredRow
from fusionkit.grid.results import RunResults
from fusionkit.report.row_names import RowNames, varying
from fusionkit.report.table import new_table
from fusionkit.stats.shapley import average_ranks

_CONTEXT = ("extractor", "backbone", "main", "recipe")


@dataclass(frozen=True, eq=False)
class Ranks:
    """Average ranks, best first.

    Attributes:
        over: what the rows are ranked on.
        blocks: number of data sets or folds.
        rows: axes, with empty data set and split, and average rank from 1.
        left_out: number of rows without a score on some data set or fold.
    """

    over: Literal["data sets", "folds"]
    blocks: int
    rows: list[tuple[Axes, float]]
    left_out: int


def ranks(results: RunResults) -> Ranks | None:
    """Rank the rows that have a score on every data set, or on every fold; None without two rows and two of these.

    With several data sets, folds are pooled, since the folds of one data set are not independent.

    Reference: Demsar, Statistical comparisons of classifiers over multiple data sets (2006), JMLR 7, 1-30, section 3.2.
    """
    stored = results.stored.values()
    over_datasets = len({each.axes.dataset for each in stored}) > 1
    scores: dict[Axes, dict[str, float]] = {}
    for each in stored:
        found = _pooled(each, each.axes.dataset) if over_datasets else _by_fold(each)
        scores.setdefault(replace(each.axes, dataset="", split=""), {}).update(found)
    blocks = list(dict.fromkeys(block for found in scores.values() for block in found))
    complete = {axes: [found[block] for block in blocks] for axes, found in scores.items() if len(found) == len(blocks)}
    if len(blocks) < 2 or len(complete) < 2:
        return None
    averages = average_ranks(np.array(list(complete.values())).T)
    rows = sorted(zip(complete, averages.tolist(), strict=True), key=lambda row: row[1])
    return Ranks("data sets" if over_datasets else "folds", len(blocks), rows, len(scores) - len(complete))


def ranks_table(results: RunResults) -> Table | None:
    """Return the ranks as a table; None if there are none."""
    found = ranks(results)
    if found is None:
        return None
    row_names = RowNames(results.rows)
    marked = any(row_names.is_random(axes) for axes, _ in found.rows)
    names = (*varying((axes for axes, _ in found.rows), _CONTEXT), "views", "fusion", "smoother")
    left_out = f"; {found.left_out} row(s) without a score on all of them are left out" if found.left_out else ""
    left_out += _disagreement(found, results)
    title = f"Average rank over {found.blocks} {found.over}, by {results.metric}"
    table = new_table(title, f"1 is best; equal scores share the mean of their ranks{left_out}")
    for name in names:
        table.add_column(name, overflow="fold", min_width=10)
    if marked:
        table.add_column("weights", no_wrap=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("", ratio=1)  # takes up the width that title and caption need
    for axes, rank in found.rows:
        weights = [Text("random" if row_names.is_random(axes) else "")] if marked else []
        table.add_row(*(Text(getattr(axes, name)) for name in names), *weights, Text(f"{rank:.2f}"))
    return table


def _disagreement(found: Ranks, results: RunResults) -> str:
    """Return why the row of the best rank is not the one with the highest metric, if it is not."""
    first = found.rows[0][0]
    highest = max((row for row in results.rows if row.score), key=lambda row: row.score.value if row.score else 0.0)
    if first == replace(highest.axes, dataset="", split=""):
        return ""
    pooled = "of one data set" if found.over == "data sets" else f"of all {first.scored} together"
    leader = f"{highest.axes.name} has the highest {results.metric} {pooled}"
    return f"; {leader}: ranks count all {found.over} alike, at any margin"


def _pooled(stored: StoredRow, dataset: str) -> dict[str, float]:
    """Return the score on the data set, if there is one."""
    return {dataset: _mean_score(stored, stored.counts.values())} if stored.counts else {}


def _by_fold(stored: StoredRow) -> dict[str, float]:
    """Return the score on each fold, over the seeds with all folds finished."""
    folds = dict.fromkeys(fold for seed, fold in stored.cells if seed in stored.counts)
    return {fold: _mean_score(stored, (stored.cells[seed, fold].counts for seed in stored.counts)) for fold in folds}


def _mean_score(stored: StoredRow, counts: Iterable[np.ndarray]) -> float:
    """Return the mean over seeds of the metric of all units, from (U, *shape) of each seed."""
    return float(np.mean([stored.task.metric(each.sum(0)) for each in counts]))
