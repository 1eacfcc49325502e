"""How trained rows bear missing views, from the ``robustness.csv`` that ``fusionkit robust`` writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from fusionkit.report.charts.figure import SERIES, Figure, said
from fusionkit.report.charts.lines import Mark, curves
from fusionkit.report.charts.view_values import csv_records, estimate_of
from fusionkit.report.numbers import share, share_with_interval

_ROWS = 4
_PATTERNS = {"frame": "single frames", "run": "a run of frames in every clip", "unit": "all frames of some units"}


def robustness_figures(folder: Path) -> Iterator[Figure]:
    """A figure a row that was tested, where the file stands in the folder."""
    by_row: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for record in csv_records(folder / "robustness.csv"):
        if record["measure"] == "occlusion":
            by_row[f"{record['views']}/{record['fusion']}/{record['smoother']}", record["pattern"]].append(record)
    for number, ((row, pattern), records) in enumerate(list(by_row.items())[:_ROWS], 1):
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
