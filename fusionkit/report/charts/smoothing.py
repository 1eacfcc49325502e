"""What the width of a smoother does, or whatever number it was varied in: macro-F1 over it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fusionkit.grid.axes import Axes
from fusionkit.report.charts.figure import SERIES, Figure, said
from fusionkit.report.charts.lines import Mark, curves
from fusionkit.report.numbers import share, share_with_interval
from fusionkit.report.results import Results, Row
from fusionkit.report.row_names import RowNames
from fusionkit.spec import Spec

_Varied = tuple[str, str]  # the smoother with its other options, and the option that was varied


def smoothing_figures(results: Results) -> Iterator[Figure]:
    """A figure for each smoother of which one number was varied, with the best of the rows that are smoothed."""
    for number, ((smoother, option), rows) in enumerate(_varied(results.rows).items(), 1):
        yield _figure(f"smoothing-{number}", smoother, option, rows, results.rows)


def _varied(rows: list[Row]) -> Mapping[_Varied, dict[Axes, dict[float, Row]]]:
    """By smoother, by what else a row is, by value of the option: the rows that were scored."""
    found: dict[_Varied, dict[Axes, dict[float, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        spec = Spec.parse(row.axes.smoother)
        for option, value in spec.options.items():
            if row.score and isinstance(value, (int, float)) and not isinstance(value, bool):
                rest = Spec(spec.name, {name: other for name, other in spec.options.items() if name != option})
                found[str(rest), option][replace(row.axes, smoother="")][float(value)] = row
    return {key: lines for key, lines in found.items() if max(map(len, lines.values())) > 1}


def _figure(name: str, smoother: str, option: str, lines: dict[Axes, dict[float, Row]], rows: list[Row]) -> Figure:
    best = sorted(lines, key=lambda axes: -max(_score(row) for row in lines[axes].values()))[:SERIES]
    called = RowNames(row.axes for row in rows)
    names = {axes: called(replace(axes, smoother=smoother), without="smoother") for axes in best}
    unsmoothed = {replace(row.axes, smoother=""): row for row in rows if row.score and row.axes.smoother == "none"}
    marks, table = [], []
    for axes in best:
        for value, row in sorted(lines[axes].items()):
            if row.score:
                number = share_with_interval(row.score)
                says = said(names[axes], f"{option} {value:g}: {number}", row=row.id)
                marks.append(Mark.of(names[axes], value, row.score, says))
                table.append((names[axes], f"{value:g}", number))
        plain = unsmoothed.get(axes)
        if plain and plain.score:
            table.append((names[axes], "not smoothed", share_with_interval(plain.score)))
    left = f" The best {SERIES} of {len(lines)} rows." if len(lines) > SERIES else ""
    top = max(marks, key=lambda mark: mark.value)
    return Figure(
        name,
        f"Smoother {smoother} by {option}",
        f"Macro-F1 with 95 % intervals.{left}",
        f"Highest is {share(top.value)} at {option} {top.at:g} for {top.series}.",
        curves(marks, option, "macro-F1", "row"),
        ("row", option, "macro-F1 [95 %]"),
        table,
    )


def _score(row: Row) -> float:
    return row.score.value if row.score else float("nan")
