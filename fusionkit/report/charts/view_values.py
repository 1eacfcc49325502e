"""What the views are worth: Shapley values of retrained subsets, and what ``fusionkit ablate`` has found."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fusionkit.grid.results import RunResults
from fusionkit.report.ablation import MASKED_SHAPLEY, PERTURBATIONS
from fusionkit.report.attribution import Attribution, attributions
from fusionkit.report.charts.figure import SERIES, Figure, Mark, curves, ladder, said
from fusionkit.report.numbers import share, share_with_interval, signed, signed_with_interval
from fusionkit.report.row_names import RowNames
from fusionkit.stats.intervals import Estimate

_ROWS = 4
_PAIRED = 4  # views; of more, the figure shows no interactions and its table does


def shapley_figures(results: RunResults) -> Iterator[Figure]:
    """One figure for each set of views of which the folder holds every subset: its best rows, one a fusion."""
    called = RowNames(row.axes for row in results.rows)
    groups: dict[tuple[str, ...], list[Attribution]] = defaultdict(list)
    for found in attributions(results):
        groups[
            (found.axes.dataset, found.axes.split, found.axes.backbone, found.axes.extractor, *found.players)
        ].append(found)
    for number, group in enumerate(groups.values(), 1):
        group.sort(key=lambda each: -each.together.value)
        unlike: dict[tuple[str, str], Attribution] = {}
        for each in group:
            unlike.setdefault((each.axes.fusion, each.axes.recipe), each)
        yield _shapley(f"shapley-{number}", list(unlike.values())[:SERIES], len(group), called)


def _shapley(name: str, group: list[Attribution], of: int, called: RowNames) -> Figure:
    marks, table = [], []
    first = group[0]
    for each in group:
        label = called(each.axes, without="views")
        pairs = {f"{a} x {b}": value for (a, b), value in each.interactions.items()}
        for player, value in {**each.shapley, **pairs, "all together": each.together}.items():
            number = signed_with_interval(value)
            if player not in pairs or len(first.players) <= _PAIRED:
                marks.append(Mark.of(label, player, value, said(label, f"{player}: {number}")))
            table.append((label, player, number))
    added_to = ", ".join(dict.fromkeys(each.empty for each in group))
    top = max(first.shapley, key=lambda player: first.shapley[player].value)
    left = f" {len(group)} of {of} rows: of each fusion the one to which the views add most." if of > len(group) else ""
    return Figure(
        name,
        "What each view adds",
        "Shapley values of macro-F1 with 95 % intervals: heads retrained for every subset of the views, added to "
        f"{added_to}. a x b: their interaction; above 0 they complete each other, below 0 they tell the same twice."
        f"{left}",
        f"In {called(first.axes, without='views')} {top} adds most, {signed_with_interval(first.shapley[top])}.",
        ladder(marks, "macro-F1 added", "", "row", zero=True),
        ("row", "view", "adds [95 %]"),
        table,
    )


def ablation_figures(folder: Path) -> Iterator[Figure]:
    """What ``attribution.csv`` holds, if it stands in the folder: a figure a row that was tested."""
    by_row: dict[str, list[dict[str, str]]] = defaultdict(list)
    for record in csv_records(folder / "attribution.csv"):
        if record["measure"] in (*PERTURBATIONS, MASKED_SHAPLEY):
            by_row[f"{record['views']}/{record['fusion']}/{record['smoother']}"].append(record)
    for number, (row, records) in enumerate(list(by_row.items())[:_ROWS], 1):
        marks, table = [], []
        for record in records:
            effect = estimate_of(record, "effect")
            measure, view, text = record["measure"], record["view"], signed_with_interval(effect)
            marks.append(Mark.of(measure, view, effect, said(f"{view}, {measure}", text)))
            table.append((view, measure, text))
        worst = min((mark for mark in marks if mark.series != MASKED_SHAPLEY), key=lambda mark: mark.value)
        yield Figure(
            f"ablation-{number}",
            f"What {row} makes of its views",
            "Nothing trained anew: change in macro-F1 where a view is shuffled among frames, blank (zero) or missing "
            "(drop); masked Shapley values sum to what all views together give. 95 % intervals.",
            f"The largest change is {signed(worst.value)}, for {worst.at} ({worst.series}).",
            ladder(marks, "change in macro-F1", "view", "measure", zero=True),
            ("view", "measure", "effect [95 %]"),
            table,
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


_ROBUSTNESS_ROWS = 4
_PATTERNS = {"frame": "single frames", "run": "a run of frames in every clip", "unit": "all frames of some units"}


def robustness_figures(folder: Path) -> Iterator[Figure]:
    """A figure a row that was tested, where the file stands in the folder."""
    by_row: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for record in csv_records(folder / "robustness.csv"):
        if record["measure"] == "occlusion":
            by_row[f"{record['views']}/{record['fusion']}/{record['smoother']}", record["pattern"]].append(record)
    for number, ((row, pattern), records) in enumerate(list(by_row.items())[:_ROBUSTNESS_ROWS], 1):
        lines = list(dict.fromkeys(record["missing"] for record in records))[:SERIES]
        chosen = [record for record in records if record["missing"] in lines]
        marks, table = [], []
        for record in chosen:
            score, level = estimate_of(record, "macro_f1"), 100 * float(record["level"])
            text = share_with_interval(score)
            says = said(f"{record['missing']} missing in {level:g} % of the frames", text)
            marks.append(Mark.of(record["missing"], level, score, says))
            table.append((record["missing"], f"{level:g}", text))
        last = min(marks, key=lambda mark: mark.value)
        yield Figure(
            f"robustness-{number}",
            f"{row} while views are missing",
            f"Macro-F1 with 95 % intervals; missing are {_PATTERNS.get(pattern, pattern)}. Nothing trained anew.",
            f"Lowest is {share(last.value)}, with {last.series} missing in {last.at:g} % of the frames.",
            curves(marks, "frames without the views, %", "macro-F1", "missing"),
            ("missing", "in % of frames", "macro-F1 [95 %]"),
            table,
        )
