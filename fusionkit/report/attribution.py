"""Shapley values and interactions of views, from rows whose heads were trained for every subset of the views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from fusionkit.grid.axes import REFERENCE_FUSION, Axes
from fusionkit.grid.contrasts import StoredRow, paired_seeds
from fusionkit.grid.results import RunResults
from fusionkit.report.numbers import share, signed_with_interval
from fusionkit.report.row_names import varying
from fusionkit.report.table import new_table
from fusionkit.stats.crossed import Estimate, estimate
from fusionkit.stats.intervals import leave_one_out
from fusionkit.stats.shapley import shapley_interactions, shapley_values

CONSTANT = "a predictor that ignores its input"

_DATA = ("task", "learned_with", "dataset", "split", "extractor", "backbone")
_CONTEXT = (*_DATA, "main")
_ROW = ("fusion", "recipe", "smoother")
_Group = dict[frozenset[str], StoredRow]  # rows equal in every setting but their views, by auxiliary views


@dataclass(frozen=True, eq=False)
class Attribution:
    """Contribution of each view to the metric, with 95 % intervals; heads are retrained for every subset.

    Attributes:
        axes: axes of the row with all views.
        metric: name of the metric.
        players: the auxiliary views; without a main view, all views.
        empty: what the views are added to: name of the row of the main view alone, or :data:`CONSTANT`.
        empty_score: metric of ``empty``.
        shapley: Shapley value of each player; they sum to ``total``.
        interactions: of each pair; above 0 two views are complementary, below 0 redundant.
        total: what all players add together.
    """

    axes: Axes
    metric: str
    players: tuple[str, ...]
    empty: str
    empty_score: Estimate
    shapley: dict[str, Estimate]
    interactions: dict[tuple[str, str], Estimate]
    total: Estimate


def attributions(results: RunResults) -> list[Attribution]:
    """Attribute each largest set of two or more views of which every subset is finished, in plan order.

    Subsets with different test frames, or without a finished seed in common, are left out.
    """
    rows = results.scored
    found = [_attribution(group, players, rows) for group in _groups(rows) for players in _complete(group)]
    return [each for each in found if each]


def attribution_tables(results: RunResults) -> list[Table]:
    """Return a table per context (data set, backbone, ...) and set of views, with a section per fusion and smoother.

    Empty if the folder has no complete set.
    """
    groups: dict[tuple[str, ...], list[Attribution]] = {}
    for each in attributions(results):
        context = tuple(getattr(each.axes, name) for name in _CONTEXT)
        groups.setdefault((*context, *each.players), []).append(each)
    return [_table(group) for group in groups.values()]


def main_view_alone(axes: Axes, entries: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the row of the main view alone with the same fusion and recipe, otherwise with a linear head.

    Args:
        axes: axes of the row to compare.
        entries: candidates, as in ``grid.json``.
    """
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    for entry in entries:
        own = Axes(**entry["axes"])
        alike = all(getattr(own, name) == getattr(axes, name) for name in (*_DATA, "smoother"))
        if alike and own.views == axes.main:
            found.setdefault((own.fusion, own.recipe == axes.recipe), entry)
    linear = str(REFERENCE_FUSION)
    preferred = [(axes.fusion, True), (linear, True), (linear, False)]
    return next((found[key] for key in preferred if key in found), None)


def _groups(rows: list[StoredRow]) -> list[_Group]:
    groups: dict[tuple[str, ...], _Group] = {}
    for row in rows:
        settings = tuple(value for name, value in sorted(vars(row.axes).items()) if name != "views")
        groups.setdefault(settings, {}).setdefault(frozenset(_players(row.axes)), row)
    return list(groups.values())


def _players(axes: Axes) -> tuple[str, ...]:
    views = tuple(axes.views.split(","))
    return views if axes.main == "none" else views[1:]


def _complete(group: _Group) -> list[tuple[str, ...]]:
    """Return the largest sets of two or more players of which every non-empty subset is in the group."""
    found: list[frozenset[str]] = []
    for players in sorted((each for each in group if len(each) > 1), key=len, reverse=True):
        if all(subset in group for subset in _subsets(players)) and not any(players < larger for larger in found):
            found.append(players)
    return [_players(group[players].axes) for players in found]


def _subsets(players: frozenset[str]) -> Iterator[frozenset[str]]:
    return (frozenset(subset) for size in range(1, len(players) + 1) for subset in combinations(players, size))


def _attribution(group: _Group, players: tuple[str, ...], rows: list[StoredRow]) -> Attribution | None:
    members = [
        group[frozenset(player for bit, player in enumerate(players) if subset >> bit & 1)]
        for subset in range(1, 1 << len(players))
    ]
    axes, task = members[-1].axes, members[-1].task
    if axes.main == "none":
        empty, counts = CONSTANT, _paired_counts(members)
        counts = [task.constant(counts[0]), *counts] if counts else []
    else:
        alone = main_view_alone(axes, (row.entry for row in rows))
        if alone is None:
            return None
        reference = next(row for row in rows if row.id == alone["id"])
        empty, counts = reference.axes.name, _paired_counts([reference, *members])
    if not counts:
        return None
    # (2**n, S) and (2**n, S, U): bit i of the first index tells whether player i is in the subset.
    full, left_out = (np.stack(each) for each in zip(*(leave_one_out(task, each) for each in counts), strict=True))
    values = zip(players, shapley_values(full), shapley_values(left_out), strict=True)
    pairs, pairs_left_out = shapley_interactions(full), shapley_interactions(left_out)
    return Attribution(
        axes,
        task.metric_name,
        players,
        empty,
        estimate(full[0], left_out[0], within=(task.least, 1.0)),
        {player: estimate(value, left) for player, value, left in values},
        {
            (players[i], players[j]): estimate(pairs[i, j], pairs_left_out[i, j], within=(-2.0, 2.0))
            for i, j in combinations(range(len(players)), 2)
        },
        estimate(full[-1] - full[0], left_out[-1] - left_out[0]),
    )


def _paired_counts(rows: list[StoredRow]) -> list[np.ndarray]:
    """Return counts (S, U, *shape) of each row on the paired seeds; empty if there is none."""
    seeds = paired_seeds(rows)
    return [np.stack([row.counts[seed] for seed in seeds]) for row in rows] if seeds else []


def _table(group: list[Attribution]) -> Table:
    names = varying((each.axes for each in group), _ROW)
    title = f"Contribution of each view to {group[0].metric} (Shapley values, heads retrained for every subset), 95 %"
    table = new_table(title, _caption(group))
    for name in (*names, "view"):
        table.add_column(name, overflow="fold")
    table.add_column("contribution [95 %]", justify="right", no_wrap=True)
    table.add_column("", ratio=1)  # takes up the width that title and caption need
    for each in group:
        settings = [getattr(each.axes, name) for name in names]
        for index, (name, value) in enumerate(_lines(each)):
            first = settings if index == 0 else [""] * len(settings)
            table.add_row(*map(Text, first), Text(name), Text(signed_with_interval(value)))
        table.add_section()
    return table


def _lines(attribution: Attribution) -> list[tuple[str, Estimate]]:
    pairs = [(f"{a} x {b} (interaction)", estimate) for (a, b), estimate in attribution.interactions.items()]
    return [*attribution.shapley.items(), *pairs, ("total", attribution.total)]


def _caption(group: list[Attribution]) -> str:
    first = group[0]
    fixed = [getattr(first.axes, name) for name in _CONTEXT[:-1]]
    baselines = {each.empty: each.empty_score.value for each in group}
    added_to = "; ".join(f"{name} ({share(score)})" for name, score in baselines.items())
    return (
        f"added to {added_to}; interaction: above 0 complementary views, below 0 redundant views; intervals: "
        f"jackknife-t over units and seeds; {first.total.n_units:,} units, {first.total.n_seeds} seed(s); "
        f"{' · '.join(fixed)}"
    )
