"""The results as a table for the terminal, and the lines that say what to make of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from rich.table import Table
from rich.text import Text

from fusionkit.config.recipe import Recipe
from fusionkit.grid.results import Row, RunResults
from fusionkit.registry.spec import Spec
from fusionkit.report.numbers import p_value, share_with_interval, signed_with_interval
from fusionkit.stats.intervals import FEW_UNITS

_NAMED = 5  # rows that a warning names
_CONTEXT = ("dataset", "split", "extractor", "backbone", "recipe")


def results_table(results: RunResults) -> Table:
    """The table: axes that vary become columns, axes that do not stand in the caption."""
    rows = results.rows
    varying = [name for name in _CONTEXT if len({getattr(row.axes, name) for row in rows}) > 1]
    if any(row.chosen_recipe != row.axes.recipe for row in rows) and "recipe" not in varying:
        varying.append("recipe")  # what a sweep came to, row by row
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
        axes = [Text(_recipe(row) if name == "recipe" else getattr(row.axes, name)) for name in varying]
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


def caption(results: RunResults) -> list[str]:
    """What the numbers are: the axes that do not vary, n, and how the intervals were made."""
    rows = [row for row in results.rows if row.score]
    if not rows:
        return []
    fixed = {name: {getattr(row.axes, name) for row in rows} for name in _CONTEXT}
    lines = [" · ".join(f"{name} {values.pop()}" for name, values in fixed.items() if len(values) == 1)]
    seeds = sorted({len(row.seeds) for row in rows})
    lines.append(
        f"{_tested(rows)}; {'-'.join(map(str, seeds))} seed(s); "
        f"intervals: {results.intervals}; p: unit-swap permutation"
    )
    lacking = sorted({round(row.means["imputed"]) for row in rows})
    if lacking[-1]:
        counts = "-".join(f"{count:,}" for count in dict.fromkeys((lacking[0], lacking[-1])))
        lines.append(f"frames without any view: {counts}, imputed: {results.grid.get('impute', 'nearest')}")
    return lines


def _tested(rows: list[Row]) -> str:
    """On how much rows were tested; of several data sets, on how much of each."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        assert row.score is not None
        counts = f"{row.score.n_units:,} units, {row.means['n_clips']:,.0f} clips, {row.means['n_frames']:,.0f} frames"
        found.setdefault(counts, {}).setdefault(row.axes.dataset)
    if len(found) == 1:
        return f"test: {next(iter(found))}"
    return "test: " + "; ".join(f"{', '.join(names)}: {counts}" for counts, names in found.items())


def warnings(results: RunResults) -> list[str]:
    """What a reader must know before believing the table."""
    found = list(results.grid.get("notes", []))
    scored = [row for row in results.rows if row.score]
    if scored and min(row.score.n_units for row in scored if row.score) < FEW_UNITS:
        units = min(row.score.n_units for row in scored if row.score)
        found.append(f"only {units} units were tested: intervals and tests are rough below {FEW_UNITS}")
    return found + _collapsed(results)


def _collapsed(results: RunResults) -> list[str]:
    """Rows of which some or all cells predict one class only."""
    rows: dict[str, list[bool]] = {}
    for cell in results.cells():
        if cell["state"] == "done":
            name = "/".join(cell["axes"][axis] for axis in ("views", "fusion", "smoother"))
            rows.setdefault(name, []).append(cell["predicted_classes"] == 1)
    wholly = [name for name, cells in rows.items() if all(cells)]
    partly = [f"{name} ({sum(cells)} of {len(cells)} cells)" for name, cells in rows.items() if any(cells)]
    partly = [line for line in partly if line.rpartition(" (")[0] not in wholly]
    found = []
    if wholly:
        found.append(f"{len(wholly)} row(s) predict one class only: {_listed(wholly)}")
    if partly:
        found.append(f"in {len(partly)} row(s) some cells predict one class only: {_listed(partly)}")
    return found


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _recipe(row: Row) -> str:
    """The recipe; of a sweep the point that was chosen, its swept options spelt out even where they are the default."""
    asked = row.axes.recipe
    if row.chosen_recipe == asked:
        return asked
    defaults = {item.name: item.default for item in fields(Recipe)}
    chosen = {**defaults, **_options(row.chosen_recipe)}
    return ",".join(f"{name}={chosen[name]}" for name in _options(asked)) + " (chosen)"


def _options(recipe: str) -> dict[str, Any]:
    return {} if recipe == "default" else dict(Spec.parse(f"recipe:{recipe}").options)


def _smoother(row: Row) -> str:
    asked, chosen = row.axes.smoother, row.chosen
    return asked if asked == chosen else f"{chosen} (auto)"
