"""What the views are worth: Shapley values of retrained subsets, and what ``fusionkit ablate`` has found."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fusionkit.report.ablation import MASKED_SHAPLEY, TREATMENTS
from fusionkit.report.attribution import Attribution, attributions
from fusionkit.report.charts.figure import SERIES, Figure
from fusionkit.report.charts.lines import Mark, ladder
from fusionkit.report.charts.row_names import row_names
from fusionkit.report.numbers import signed_with_interval
from fusionkit.report.results import Results
from fusionkit.stats import Estimate

_ROWS = 4


def shapley_figures(results: Results) -> Iterator[Figure]:
    """One figure for each set of views of which the folder holds every subset."""
    groups: dict[tuple[str, ...], list[Attribution]] = defaultdict(list)
    for found in attributions(results):
        groups[
            (found.axes.dataset, found.axes.split, found.axes.backbone, found.axes.extractor, *found.players)
        ].append(found)
    for number, group in enumerate(groups.values(), 1):
        group.sort(key=lambda each: -each.together.value)
        yield _shapley(f"shapley-{number}", group[:SERIES], len(group))


def _shapley(name: str, group: list[Attribution], of: int) -> Figure:
    labels = row_names(each.axes for each in group)
    marks, table = [], []
    for label, each in zip(labels, group, strict=True):
        pairs = {f"{a} x {b}": value for (a, b), value in each.interactions.items()}
        for player, value in {**each.shapley, **pairs, "all together": each.together}.items():
            marks.append(Mark.of(label, player, value))
            table.append((label, player, signed_with_interval(value)))
    first = group[0]
    top = max(first.shapley, key=lambda player: first.shapley[player].value)
    left = f" The best {len(group)} of {of} rows." if of > len(group) else ""
    return Figure(
        name,
        "What each view adds",
        "Shapley values of macro-F1 with 95 % intervals: heads retrained for every subset of the views, added to "
        f"{first.empty}. a x b: their interaction; above 0 they complete each other, below 0 they tell the same "
        f"twice.{left}",
        f"In the first row {top} adds most, {signed_with_interval(first.shapley[top])}.",
        ladder(marks, "macro-F1 added", "", "row", zero=True),
        ("row", "view", "adds [95 %]"),
        table,
    )


def ablation_figures(folder: Path) -> Iterator[Figure]:
    """What ``attribution.csv`` holds, if it stands in the folder: a figure a row that was tested."""
    by_row: dict[str, list[dict[str, str]]] = defaultdict(list)
    for record in csv_records(folder / "attribution.csv"):
        if record["measure"] in (*TREATMENTS, MASKED_SHAPLEY):
            by_row[f"{record['views']}/{record['fusion']}/{record['smoother']}"].append(record)
    for number, (row, records) in enumerate(list(by_row.items())[:_ROWS], 1):
        marks = [Mark.of(record["measure"], record["view"], estimate_of(record, "effect")) for record in records]
        worst = min((mark for mark in marks if mark.series != MASKED_SHAPLEY), key=lambda mark: mark.value)
        yield Figure(
            f"ablation-{number}",
            f"What {row} makes of its views",
            "Nothing trained anew: change in macro-F1 where a view is shuffled among frames, blank (zero) or missing "
            "(drop); masked Shapley values sum to what all views together give. 95 % intervals.",
            f"The largest loss is {abs(worst.value):.3f}, for {worst.at} ({worst.series}).",
            ladder(marks, "change in macro-F1", "view", "measure", zero=True),
            ("view", "measure", "effect [95 %]"),
            [(r["view"], r["measure"], signed_with_interval(estimate_of(r, "effect"))) for r in records],
        )


def csv_records(file: Path) -> list[dict[str, str]]:
    """The lines of a CSV file of the folder; none where it is not there."""
    if not file.exists():
        return []
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def estimate_of(record: dict[str, str], name: str) -> Estimate:
    """A value with its bounds as a CSV file of the folder holds them; NaN where they are empty."""
    value, low, high = (float(record[key] or "nan") for key in (name, f"{name}_lo", f"{name}_hi"))
    return Estimate(value, low, high, float("nan"), int(record["n_units"]), len(record["seeds"].split()))
