"""Figures of the views: Shapley values, and the results of ``fusionkit ablate`` and ``fusionkit robust``."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from fusionkit.grid.results import RunResults
from fusionkit.report.ablation import ATTRIBUTION, MASKED_SHAPLEY, PERTURBATIONS
from fusionkit.report.attribution import Attribution, attributions
from fusionkit.report.charts.figure import MAX_SERIES, Figure, Mark, interval_plot, line_plot, tooltip
from fusionkit.report.numbers import capital, share, share_with_interval, signed, signed_with_interval
from fusionkit.report.robustness import PATTERN_TEXTS, ROBUSTNESS
from fusionkit.report.row_names import RowNames
from fusionkit.stats.crossed import Estimate

_ROWS = 4
_PAIRED_VIEWS = 4  # with more views the interactions are in the table only


def shapley_figures(results: RunResults) -> Iterator[Figure]:
    """Yield a figure for each set of views with every subset in the folder: its best rows, one per fusion."""
    names = RowNames(results.rows)
    groups: dict[tuple[str, ...], list[Attribution]] = defaultdict(list)
    for each in attributions(results):
        axes = each.axes
        groups[axes.dataset, axes.split, axes.backbone, axes.extractor, *each.players].append(each)
    for number, group in enumerate(groups.values(), 1):
        group.sort(key=lambda each: -each.total.value)
        best: dict[tuple[str, str], Attribution] = {}
        for each in group:
            best.setdefault((each.axes.fusion, each.axes.recipe), each)
        yield _shapley(f"shapley-{number}", list(best.values())[:MAX_SERIES], len(group), names)


def ablation_figures(folder: Path, metric: str) -> Iterator[Figure]:
    """Yield a figure for each of the first rows in ``attribution.csv``."""
    groups = _by_row(folder / ATTRIBUTION, (*PERTURBATIONS, MASKED_SHAPLEY))
    for number, ((row,), lines) in enumerate(groups, 1):
        marks, table = [], []
        for line in lines:
            effect = _estimate(line, "effect")
            measure, view, text = line["measure"], line["view"], signed_with_interval(effect)
            marks.append(Mark.of(measure, view, effect, tooltip(f"{view}, {measure}", text)))
            table.append((view, measure, text))
        largest = min((mark for mark in marks if mark.series != MASKED_SHAPLEY), key=lambda mark: mark.value)
        yield Figure(
            f"ablation-{number}",
            f"Effect of each view of {row}",
            f"Change in {metric}, without retraining, when a view is shuffled among frames, blanked (zero) or missing "
            "(drop); masked Shapley values sum to the contribution of all views. 95 % intervals.",
            f"Largest decrease: {signed(largest.value)}, for {largest.at} ({largest.series}).",
            interval_plot(marks, f"change in {metric}", "view", "measure", zero=True),
            ("view", "measure", "effect [95 %]"),
            table,
        )


def robustness_figures(folder: Path, metric: str) -> Iterator[Figure]:
    """Yield a figure for each of the first rows and patterns in ``robustness.csv``."""
    groups = _by_row(folder / ROBUSTNESS, ("occlusion",), "pattern")
    for number, ((row, pattern), lines) in enumerate(groups, 1):
        shown = list(dict.fromkeys(line["missing"] for line in lines))[:MAX_SERIES]
        marks, table = [], []
        for line in lines:
            missing, score, level = line["missing"], _estimate(line, "score"), 100 * float(line["level"])
            if missing in shown:
                text = share_with_interval(score)
                marks.append(
                    Mark.of(missing, level, score, tooltip(f"{missing} missing in {level:g} % of the frames", text))
                )
                table.append((missing, f"{level:g}", text))
        lowest = min(marks, key=lambda mark: mark.value)
        yield Figure(
            f"robustness-{number}",
            f"{row} with missing views",
            f"{capital(metric)} with 95 % intervals, without retraining; views are missing in "
            f"{PATTERN_TEXTS.get(pattern, pattern)}.",
            f"Lowest: {share(lowest.value)}, with {lowest.series} missing in {lowest.at:g} % of the frames.",
            line_plot(marks, "frames without the views, %", metric, "missing"),
            ("missing", "in % of frames", f"{metric} [95 %]"),
            table,
        )


def csv_lines(file: Path) -> list[dict[str, str]]:
    """Return the lines of a CSV file of the folder; none if the file does not exist."""
    if not file.exists():
        return []
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def _by_row(file: Path, measures: Collection[str], *columns: str) -> list[tuple[tuple[str, ...], list[dict[str, str]]]]:
    """Return the lines of some measures, grouped by name of the row and further columns; the first few groups."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for line in csv_lines(file):
        if line["measure"] in measures:
            name = f"{line['views']}/{line['fusion']}/{line['smoother']}"
            groups[name, *(line[column] for column in columns)].append(line)
    return list(groups.items())[:_ROWS]


def _estimate(line: dict[str, str], name: str) -> Estimate:
    """Return a value with its bounds, NaN where they are empty."""
    value, low, high = (float(line[column] or "nan") for column in (name, f"{name}_lo", f"{name}_hi"))
    return Estimate(value, low, high, float("nan"), int(line["n_units"]), len(line["seeds"].split()))


def _shapley(name: str, group: list[Attribution], total: int, names: RowNames) -> Figure:
    marks, table = [], []
    first = group[0]
    for each in group:
        label = names(each.axes, without="views")
        pairs = {f"{a} x {b}": value for (a, b), value in each.interactions.items()}
        for player, value in {**each.shapley, **pairs, "total": each.total}.items():
            number = signed_with_interval(value)
            if player not in pairs or len(first.players) <= _PAIRED_VIEWS:
                marks.append(Mark.of(label, player, value, tooltip(label, f"{player}: {number}")))
            table.append((label, player, number))
    added_to = ", ".join(dict.fromkeys(each.empty for each in group))
    top = max(first.shapley, key=lambda player: first.shapley[player].value)
    selection = ""
    if total > len(group):
        selection = f" {len(group)} of {total} rows: for each fusion the one with the highest total contribution."
    return Figure(
        name,
        "Contribution of each view",
        f"Shapley values of {first.metric} with 95 % intervals: heads retrained for every subset of the views, added "
        f"to {added_to}. a x b: interaction; above 0 complementary views, below 0 redundant views.{selection}",
        f"In {names(first.axes, without='views')} {top} contributes most, {signed_with_interval(first.shapley[top])}.",
        interval_plot(marks, f"contribution to {first.metric}", "", "row", zero=True),
        ("row", "view", "contribution [95 %]"),
        table,
    )
