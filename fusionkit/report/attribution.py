"""What each view adds: Shapley values and interactions with their intervals, and the table that shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from rich.table import Table
from rich.text import Text

from fusionkit.grid.axes import REFERENCE_FUSION, Axes
from fusionkit.grid.results import StoredRow, RunResults
from fusionkit.report.numbers import share, signed_with_interval
from fusionkit.stats.intervals import Estimate, jackknife_estimate, leave_one_out
from fusionkit.stats.shapley import best_constant, shapley_interactions, shapley_values

Players = tuple[str, ...]
_Group = dict[frozenset[str], StoredRow]  # rows that differ in nothing but their views, by their players

CONSTANT = "a classifier that always names the most frequent class"


@dataclass(frozen=True, eq=False)
class SubsetScores:
    """Macro-F1 of every subset of n views, retrained for each, on the same S seeds and U units.

    Attributes:
        axes: of the row that has all views.
        players: the views, the main view not among them.
        empty: what the views are added to: the row of the main view alone, by name; without a main view
            :data:`CONSTANT`, of which the score is given by :func:`fusionkit.stats.shapley.best_constant`.
        full: (2**n, S); bit i of the first index says whether player i takes part.
        left_out: (2**n, S, U); without each unit.
    """

    axes: Axes
    players: Players
    empty: str
    full: np.ndarray
    left_out: np.ndarray


def subset_scores(results: RunResults) -> list[SubsetScores]:
    """One for each largest set of two or more views of which every subset is finished, in plan order.

    Subsets that were not tested on the same frames, or have no finished seed in common, are left out.
    """
    loaded = [results.load(entry) for entry in results.grid["rows"]]
    rows = [row for row in loaded if row.counts]
    scored = [_scored(group, players, rows) for group in _groups(rows) for players in _complete(group)]
    return [each for each in scored if each]


def _axes(row: StoredRow) -> Axes:
    return Axes(**row.entry["axes"])


def _groups(rows: list[StoredRow]) -> list[_Group]:
    groups: dict[tuple[str, ...], _Group] = {}
    for row in rows:
        axes = row.entry["axes"]
        alike = tuple(axes[name] for name in sorted(axes) if name != "views")
        groups.setdefault(alike, {}).setdefault(frozenset(_players(_axes(row))), row)
    return list(groups.values())


def _players(axes: Axes) -> Players:
    views = tuple(axes.views.split(","))
    return views if axes.main == "none" else views[1:]


def _complete(group: _Group) -> list[Players]:
    """The largest sets of two or more players of which every subset but the empty one is there."""
    found: list[frozenset[str]] = []
    for players in sorted((each for each in group if len(each) > 1), key=len, reverse=True):
        if all(subset in group for subset in _subsets(players)) and not any(players < larger for larger in found):
            found.append(players)
    return [_players(_axes(group[players])) for players in found]


def _subsets(players: frozenset[str]) -> Iterator[frozenset[str]]:
    return (frozenset(subset) for size in range(1, len(players) + 1) for subset in combinations(players, size))


def _scored(group: _Group, players: Players, rows: list[StoredRow]) -> SubsetScores | None:
    members = [
        group[frozenset(player for bit, player in enumerate(players) if number >> bit & 1)]
        for number in range(1, 1 << len(players))
    ]
    axes = _axes(members[-1])
    if axes.main == "none":
        empty, counts = CONSTANT, _on_same_frames(members)
        counts = [best_constant(counts[0]), *counts] if counts else []
    else:
        alone = _alone(axes, rows)
        if alone is None:
            return None
        empty, counts = _axes(alone).name, _on_same_frames([alone, *members])
    if not counts:
        return None
    full, left_out = (np.stack(each) for each in zip(*map(leave_one_out, counts), strict=True))
    return SubsetScores(axes, players, empty, full, left_out)


def _alone(axes: Axes, rows: list[StoredRow]) -> StoredRow | None:
    """The main view alone: with the same fusion and recipe where there is such a row, else with a linear head."""
    alone: dict[tuple[str, bool], StoredRow] = {}
    for row in rows:
        own = _axes(row)
        context = (own.dataset, own.split, own.extractor, own.backbone, own.smoother, own.views)
        if context == (axes.dataset, axes.split, axes.extractor, axes.backbone, axes.smoother, axes.main):
            alone.setdefault((own.fusion, own.recipe == axes.recipe), row)
    wanted = [(axes.fusion, True), (str(REFERENCE_FUSION), True), (str(REFERENCE_FUSION), False)]
    return next((alone[key] for key in wanted if key in alone), None)


def _on_same_frames(rows: list[StoredRow]) -> list[np.ndarray]:
    """Counts (S, U, C, C) of each on the seeds that all have; empty where they cannot be held against each other."""
    seeds = sorted(set.intersection(*(set(row.counts) for row in rows)))
    if not seeds or not all(np.array_equal(row.units, rows[0].units) for row in rows):
        return []
    counts = [np.stack([row.counts[seed] for seed in seeds]) for row in rows]
    alike = all(np.array_equal(each.sum(-1), counts[0].sum(-1)) for each in counts)
    return counts if alike else []


_CONTEXT = ("dataset", "split", "extractor", "backbone", "main")
_ROW = ("fusion", "recipe", "smoother")


@dataclass(frozen=True, eq=False)
class Attribution:
    """What each of some views adds to macro-F1, its heads retrained for every subset, with 95 % intervals.

    Attributes:
        axes: of the row that has all views.
        players: the views, the main view not among them.
        empty: what the views are added to, in words.
        empty_score: macro-F1 of that.
        shapley: what each player adds; they sum to ``together``.
        interactions: of each pair; above 0 two views complete each other, below 0 they tell the same twice.
        together: what all players add.
    """

    axes: Axes
    players: Players
    empty: str
    empty_score: Estimate
    shapley: dict[str, Estimate]
    interactions: dict[tuple[str, str], Estimate]
    together: Estimate


def attributions(results: RunResults) -> list[Attribution]:
    """One for each largest set of two or more views of which the folder holds every subset, alike in all else."""
    return [_attribution(scores) for scores in subset_scores(results)]


def attribution_tables(results: RunResults) -> list[Table]:
    """A table a context (data set, backbone, ...) and set of views; its fusions and smoothers stand below each other.

    Empty where the folder holds no complete set.
    """
    groups: dict[tuple[str, ...], list[Attribution]] = {}
    for attribution in attributions(results):
        groups.setdefault(_context(attribution), []).append(attribution)
    return [_table(group) for group in groups.values()]


def _attribution(scores: SubsetScores) -> Attribution:
    full, left_out, players = scores.full, scores.left_out, scores.players
    values = zip(players, shapley_values(full), shapley_values(left_out), strict=True)
    pairs, pairs_left = shapley_interactions(full), shapley_interactions(left_out)
    return Attribution(
        scores.axes,
        players,
        scores.empty,
        jackknife_estimate(full[0], left_out[0], within=(0.0, 1.0)),
        {player: jackknife_estimate(value, left) for player, value, left in values},
        {
            (players[i], players[j]): jackknife_estimate(pairs[i, j], pairs_left[i, j], within=(-2.0, 2.0))
            for i, j in combinations(range(len(players)), 2)
        },
        jackknife_estimate(full[-1] - full[0], left_out[-1] - left_out[0]),
    )


def _context(attribution: Attribution) -> tuple[str, ...]:
    return (*(getattr(attribution.axes, name) for name in _CONTEXT), *attribution.players)


def _table(group: list[Attribution]) -> Table:
    varying = [name for name in _ROW if len({getattr(each.axes, name) for each in group}) > 1]
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title="What each view adds (Shapley values, heads retrained for every subset), macro-F1, 95 %",
        title_justify="left",
        caption=_caption(group),
        caption_justify="left",
        expand=True,
    )
    for name in (*varying, "view"):
        table.add_column(name, overflow="fold")
    table.add_column("adds [95 %]", justify="right", no_wrap=True)
    table.add_column("", ratio=1)  # takes up the width that title and caption need
    for each in group:
        axes = [getattr(each.axes, name) for name in varying]
        for place, (name, estimate) in enumerate(_lines(each)):
            first = axes if place == 0 else [""] * len(axes)
            table.add_row(*map(Text, first), Text(name), Text(signed_with_interval(estimate)))
        table.add_section()
    return table


def _lines(attribution: Attribution) -> list[tuple[str, Estimate]]:
    pairs = [(f"{a} x {b} (interaction)", estimate) for (a, b), estimate in attribution.interactions.items()]
    return [*attribution.shapley.items(), *pairs, ("all together", attribution.together)]


def _caption(group: list[Attribution]) -> str:
    first = group[0]
    fixed = [getattr(first.axes, name) for name in _CONTEXT[:-1]]
    bases = {each.empty: each.empty_score.value for each in group}
    added_to = "; ".join(f"{name} ({share(score)})" for name, score in bases.items())
    return (
        f"added to {added_to}; interaction: above 0 two views complete each other, below 0 they tell the same twice; "
        f"{first.together.n_units:,} units, {first.together.n_seeds} seed(s); {' · '.join(fixed)}"
    )
