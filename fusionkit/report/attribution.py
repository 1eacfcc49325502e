"""What each view adds: Shapley values and interactions with their intervals, and the table that shows them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from rich.table import Table
from rich.text import Text

from fusionkit.attribution import shapley_interactions, shapley_values
from fusionkit.grid.axes import Axes
from fusionkit.report.numbers import share, signed_with_interval
from fusionkit.report.results import Results
from fusionkit.report.subset_scores import Players, SubsetScores, subset_scores
from fusionkit.stats import Estimate, jackknife_estimate

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


def attributions(results: Results) -> list[Attribution]:
    """One for each largest set of two or more views of which the folder holds every subset, alike in all else."""
    return [_attribution(scores) for scores in subset_scores(results)]


def attribution_tables(results: Results) -> list[Table]:
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
