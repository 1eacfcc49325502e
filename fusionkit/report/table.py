"""The results as a table for the terminal, and the lines that say what to make of it."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from fusionkit.report.numbers import p_value, share_with_interval, signed_with_interval
from fusionkit.report.results import Results, Row
from fusionkit.stats import FEW_UNITS

_CONTEXT = ("dataset", "split", "extractor", "backbone", "recipe")


def results_table(results: Results) -> Table:
    """The table: axes that vary become columns, axes that do not stand in the caption."""
    rows = results.rows
    varying = [name for name in _CONTEXT if len({getattr(row.axes, name) for row in rows}) > 1]
    partly = any(row.means.get("coverage", 1.0) < 1.0 for row in rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (*varying, "views", "fusion", "smoother"):
        table.add_column(name, overflow="fold", min_width=10)
    # In a narrow terminal an interval goes below its value, before a name is broken or a column lost.
    for name, width in (("macro-F1 [95 %]", 12), ("delta [95 %]", 14)):
        table.add_column(name, justify="right", min_width=width)
    for name in ("p Holm", *(["covered"] if partly else [])):
        table.add_column(name, justify="right", no_wrap=True)
    best = max((row.score.value for row in rows if row.score), default=float("nan"))
    for row in rows:
        axes = [Text(getattr(row.axes, name)) for name in varying]
        table.add_row(*axes, *_cells(row, best), *([_coverage(row)] if partly else []))
    return table


def _cells(row: Row, best: float) -> list[Text]:
    axes = [Text(text) for text in (row.axes.views, row.axes.fusion, _smoother(row))]
    if row.score is None:
        reason = "failed" if row.failures else "not run"
        return [*axes, Text(reason, style="red" if row.failures else "yellow"), Text(""), Text("")]
    value = Text(share_with_interval(row.score))
    if row.score.value == best:
        value.stylize("bold")
    if row.delta:
        return [*axes, value, Text(signed_with_interval(row.delta)), Text(p_value(row.p_holm))]
    return [*axes, value, Text("reference" if row.is_reference else "", style="dim"), Text("")]


def _coverage(row: Row) -> Text:
    return Text(f"{100 * row.means['coverage']:.1f} %" if row.means else "")


def caption(results: Results) -> list[str]:
    """What the numbers are: the axes that do not vary, n, and how the intervals were made."""
    rows = [row for row in results.rows if row.score]
    if not rows:
        return []
    first = rows[0]
    assert first.score is not None
    fixed = {name: {getattr(row.axes, name) for row in rows} for name in _CONTEXT}
    lines = [" · ".join(f"{name} {values.pop()}" for name, values in fixed.items() if len(values) == 1)]
    seeds = sorted({len(row.seeds) for row in rows})
    lines.append(
        f"test: {first.score.n_units:,} units, {first.means['n_clips']:,.0f} clips, "
        f"{first.means['n_frames']:,.0f} frames; {'-'.join(map(str, seeds))} seed(s); "
        "intervals: delete-one-unit jackknife-t; "
        "p: unit-swap permutation"
    )
    return lines


def warnings(results: Results) -> list[str]:
    """What a reader must know before believing the table."""
    found = list(results.grid.get("notes", []))
    scored = [row for row in results.rows if row.score]
    if scored and min(row.score.n_units for row in scored if row.score) < FEW_UNITS:
        units = min(row.score.n_units for row in scored if row.score)
        found.append(f"only {units} units were tested: intervals and tests are rough below {FEW_UNITS}")
    collapsed = [
        f"{cell['axes']['views']}/{cell['axes']['fusion']}/{cell['axes']['smoother']}/{cell['seed']}"
        for cell in results.cells()
        if cell.get("predicted_classes") == 1
    ]
    if collapsed:
        found.append(f"{len(collapsed)} cell(s) predict one class only, {collapsed[0]} for one")
    return found


def _smoother(row: Row) -> str:
    asked, chosen = row.axes.smoother, row.chosen
    return asked if asked == chosen else f"{chosen} (auto)"
