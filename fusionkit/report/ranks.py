"""Average ranks: how the rows of a grid place over its data sets or, on a single one, over its folds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from rich.table import Table
from rich.text import Text

from fusionkit.grid.axes import Axes
from fusionkit.grid.results import StoredRow, RunResults
from fusionkit.stats.intervals import macro_f1
from fusionkit.stats.shapley import average_ranks

_CONTEXT = ("extractor", "backbone", "main", "recipe")


@dataclass(frozen=True, eq=False)
class Ranks:
    """Rows by their average rank, the best first.

    Attributes:
        over: what they were ranked on.
        blocks: how many of these.
        rows: (what is ranked, average rank from 1 up); data set and split are empty in the axes.
        left_out: rows without a score on some block.
    """

    over: Literal["data sets", "folds"]
    blocks: int
    rows: list[tuple[Axes, float]]
    left_out: int


def ranks(results: RunResults) -> Ranks | None:
    """The average ranks of rows that have a score on every data set, or on every fold; None without two of both.

    With several data sets, folds are pooled: those of one data set are no independent trials.

    Reference: Demsar, Statistical comparisons of classifiers over multiple data sets (2006), JMLR 7, 1-30, section 3.2.
    """
    loaded = [results.load(entry) for entry in results.grid["rows"]]
    several = len({each.entry["axes"]["dataset"] for each in loaded}) > 1
    scores: dict[Axes, dict[str, float]] = {}
    for each in loaded:
        axes = Axes(**each.entry["axes"])
        found = _pooled(each, axes.dataset) if several else _by_fold(each)
        scores.setdefault(replace(axes, dataset="", split=""), {}).update(found)
    blocks = list(dict.fromkeys(block for found in scores.values() for block in found))
    whole = {axes: [found[block] for block in blocks] for axes, found in scores.items() if len(found) == len(blocks)}
    if len(blocks) < 2 or len(whole) < 2:
        return None
    places = average_ranks(np.array(list(whole.values())).T)
    rows = sorted(zip(whole, places.tolist(), strict=True), key=lambda row: row[1])
    return Ranks("data sets" if several else "folds", len(blocks), rows, len(scores) - len(whole))


def ranks_table(results: RunResults) -> Table | None:
    """The ranks as a table that rich prints; None where there are none."""
    found = ranks(results)
    if found is None:
        return None
    varying = [name for name in _CONTEXT if len({getattr(axes, name) for axes, _ in found.rows}) > 1]
    left_out = f"; {found.left_out} row(s) without a score on all of them are left out" if found.left_out else ""
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=f"Average rank over {found.blocks} {found.over}, by macro-F1",
        title_justify="left",
        caption=f"1 is best; of equal scores each has the mean of their ranks{left_out}",
        caption_justify="left",
        expand=True,
    )
    names = (*varying, "views", "fusion", "smoother")
    for name in names:
        table.add_column(name, overflow="fold", min_width=10)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("", ratio=1)  # takes up the width that title and caption need
    for axes, place in found.rows:
        table.add_row(*(Text(getattr(axes, name)) for name in names), Text(f"{place:.2f}"))
    return table


def _pooled(loaded: StoredRow, dataset: str) -> dict[str, float]:
    """The score on the data set, if there is one."""
    return {dataset: _mean_score(loaded.counts.values())} if loaded.counts else {}


def _by_fold(loaded: StoredRow) -> dict[str, float]:
    """The score on each fold, over the seeds of which all folds are done."""
    folds = dict.fromkeys(fold for seed, fold in loaded.cells if seed in loaded.counts)
    return {fold: _mean_score(loaded.cells[seed, fold].counts for seed in loaded.counts) for fold in folds}


def _mean_score(counts: Iterable[np.ndarray]) -> float:
    """Mean over seeds of the macro-F1 of all units, from (U, C, C) of each."""
    return float(np.mean([macro_f1(each.sum(0)) for each in counts]))
