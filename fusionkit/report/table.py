"""Results as a table for the terminal, with its caption and warnings."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fusionkit.config.keys import DEFAULTS
from fusionkit.config.recipe import Recipe
from fusionkit.errors import printable
from fusionkit.grid.results import Row, RunResults
from fusionkit.registry.spec import Spec
from fusionkit.report.csv_files import weights_text
from fusionkit.report.failed_checks import failed_check_warnings
from fusionkit.report.numbers import p_value, percent, share, share_with_interval, signed_with_interval
from fusionkit.report.row_names import RowNames, varying
from fusionkit.report.significance import few_seeds_warnings, few_units_warnings, has_claims, method
from fusionkit.report.versions import version_warnings

# Axes that are a column only where they vary; otherwise they are in the caption.
CONTEXT = ("task", "learned_with", "labels", "dataset", "split", "extractor", "backbone", "recipe")
_TEXT_WIDTH, _LEAST_WIDTH = 140, 20  # columns
_NAMED = 5  # rows in a warning
_FEW_STEPS = 100  # gradient steps; at the default rate, weights hardly leave their start


def results_table(results: RunResults, most: int | None = None) -> Table:
    """Return the rows as a table, in plan order.

    Args:
        results: of the run folder.
        most: number of rows that the table has at most, those with the highest scores. Default: all.
    """
    rows = results.rows
    context = varying((row.axes for row in rows), CONTEXT)
    if any(row.chosen_recipe != row.axes.recipe for row in rows) and "recipe" not in context:
        context.append("recipe")  # the recipe chosen in a sweep differs by row
    table = new_table()
    for name in (*context, "views", "fusion", "smoother"):
        table.add_column(name, overflow="fold", min_width=10)
    # In a narrow terminal an interval is wrapped below its value before names or columns are cut.
    for name, width in ((f"{results.metric} [95 %]", 12), ("delta [95 %]", 14)):
        table.add_column(name, justify="right", min_width=width)
    with_coverage = has_incomplete_coverage(rows)
    for name in ("p Holm", *(["coverage"] if with_coverage else [])):
        table.add_column(name, justify="right", no_wrap=True)
    with_weights = any(row.random_backbones for row in rows)
    if with_weights:
        table.add_column("weights", no_wrap=True)
    best = max((row.score.value for row in rows if row.score), default=float("nan"))
    for row in rows if most is None else _best(rows, most):
        axes = [Text(printable(_recipe(row) if name == "recipe" else getattr(row.axes, name))) for name in context]
        extra = [_coverage(row)] if with_coverage else []
        extra += [Text(weights_text(row.random_backbones))] if with_weights else []
        table.add_row(*axes, *_cells(row, best), *extra)
    return table


def new_table(title: str = "", caption: str = "") -> Table:
    """Return an empty table without borders; with a caption it is as wide as the terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=bool(caption))
    # As Text, since a name such as csv:classes=[happy,sad] would be taken for markup.
    table.title, table.caption = Text(title, "table.title"), Text(caption, "table.caption")
    table.title_justify = table.caption_justify = "left"
    return table


def as_text(tables: Iterable[Table], lines: Iterable[str], warned: Iterable[str] = ()) -> str:
    """Return tables, lines and warnings as plain text, as wide as the terminal, or 140 columns if there is none."""
    width = max(shutil.get_terminal_size((_TEXT_WIDTH, 24)).columns, _LEAST_WIDTH)
    console = Console(
        file=io.StringIO(), width=width, color_system=None, force_terminal=False, force_jupyter=False, emoji=False
    )
    with console.capture() as found:
        for table in tables:
            console.print(table)
        for line in [*lines, *(f"warning: {line}" for line in warned)]:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    return "\n".join(printable(line.rstrip()) for line in found.get().splitlines())


def caption(results: RunResults) -> list[str]:
    """Return the axes that do not vary, the size of the test data and the methods, one line each."""
    rows = [row for row in results.rows if row.score]
    if not rows:
        return []
    varied = varying((row.axes for row in rows), CONTEXT)
    seeds = sorted({len(row.seeds) for row in rows})
    fixed = {name: getattr(rows[0].axes, name) for name in CONTEXT if name not in varied}
    usual = {name: DEFAULTS["bench"][name] for name in ("task", "labels")}
    usual |= dict.fromkeys(("learned_with", "extractor", "backbone"), "none")
    lines = [" · ".join(f"{name} {value}" for name, value in fixed.items() if usual.get(name) != value)]
    lines.append(
        f"{_test_data(rows)}; {'-'.join(map(str, seeds))} seed(s); {method(results)}"
        + ("; p Holm: Holm-corrected over rows" if has_claims(results) else "")
    )
    lines += _ceilings(results)
    imputed = sorted({round(row.means["imputed"]) for row in rows})
    if imputed[-1]:
        counts = "-".join(f"{count:,}" for count in dict.fromkeys((imputed[0], imputed[-1])))
        lines.append(f"{rows[0].axes.scored} without any view: {counts}, imputed: {results.grid['impute']}")
    return lines


def _ceilings(results: RunResults) -> list[str]:
    """Return what limits the metric on the labels of the test frames, one line each."""
    cells = [cell.info for row in results.scored for cell in row.cells.values()]
    found = {(info["fold"], *info["ceiling"]) for info in cells if info["ceiling"]}
    return [f"ceiling: {share(value)}, that of {words}" for _, words, value in sorted(found)]


def warnings(results: RunResults) -> list[str]:
    """Return limits of the numbers, one line each."""
    found = list(results.grid["notes"])
    units = [row.score.n_units for row in results.rows if row.score]
    found += random_weights_warnings(row.random_backbones for row in results.rows)
    found += version_warnings(results)
    found += failed_check_warnings(results.grid["rows"])
    if units:
        found += few_units_warnings(min(units))
        found += few_seeds_warnings(min(len(row.seeds) for row in results.rows if row.score), results.test)
    found += [
        f"{row.name}: seed(s) {', '.join(map(str, row.left_out))} left out, which are not finished"
        for row in results.rows
        if row.score and row.left_out
    ][:_NAMED]
    return found + _few_steps_warnings(results.rows) + _single_class_warnings(results)


def random_weights_warnings(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a warning that names the backbones with random weights, if there are any.

    Args:
        rows: of each row, its backbones with random weights.
    """
    marked = [backbones for backbones in rows if backbones]
    names = list(dict.fromkeys(name for backbones in marked for name in backbones))
    return [f"{len(marked)} row(s) use random weights, as a control: {_listed(names)}"] if names else []


def has_incomplete_coverage(rows: list[Row]) -> bool:
    """Return whether some row has test frames that lack a view."""
    return any(row.means.get("coverage", 1.0) < 1.0 for row in rows)


def unfinished_text(row: Row) -> str:
    """Return why a row has no score."""
    return "failed" if row.failures else "not run"


def _best(rows: Sequence[Row], most: int) -> list[Row]:
    """Return the rows with the highest scores, in their order."""
    ranked = sorted(rows, key=lambda row: -row.score.value if row.score else math.inf)
    kept = {row.id for row in ranked[:most]}
    return [row for row in rows if row.id in kept]


def _cells(row: Row, best: float) -> list[Text]:
    smoother = row.chosen if row.chosen == row.axes.smoother else f"{row.chosen} (auto)"
    fusion = row.chosen_fusion if row.chosen_fusion == row.axes.fusion else f"{row.chosen_fusion} (auto)"
    axes = [Text(printable(text)) for text in (row.axes.views, fusion, smoother)]
    if row.score is None:
        return [*axes, Text(unfinished_text(row), style="red" if row.failures else "yellow"), Text(""), Text("")]
    score = Text(share_with_interval(row.score), style="bold" if row.score.value == best else "")
    if row.delta:
        return [*axes, score, Text(signed_with_interval(row.delta)), Text(p_value(row.p_holm))]
    return [*axes, score, Text("reference" if row.is_reference else "", style="dim"), Text("")]


def _coverage(row: Row) -> Text:
    return Text(percent(row.means["coverage"]) if row.means else "")


def _recipe(row: Row) -> str:
    """Return the recipe; of a sweep, the chosen value of every swept option, defaults included."""
    recipe = row.axes.recipe
    if row.chosen_recipe == recipe:
        return recipe
    defaults = {item.name: item.default for item in fields(Recipe)}
    chosen = {**defaults, **_options(row.chosen_recipe)}
    return ",".join(f"{name}={chosen[name]}" for name in _options(recipe)) + " (chosen)"


def _options(recipe: str) -> dict[str, Any]:
    return {} if recipe == "default" else dict(Spec.parse(f"recipe:{recipe}").options)


def _test_data(rows: list[Row]) -> str:
    """Return the size of the test data, of each data set and task if they differ."""
    datasets: dict[str, dict[str, None]] = {}
    names = RowNames(rows)
    for row in rows:
        assert row.score is not None
        units = f"{row.score.n_units:,} units (subjects or videos)"
        counts = f"{units}, {row.means['n_clips']:,.0f} clips"
        if row.axes.labels == "frame":
            counts += f", {row.means['n_frames']:,.0f} frames"
        datasets.setdefault(counts, {}).setdefault(names.data(row.axes))
    if len(datasets) == 1:
        return f"test: {next(iter(datasets))}"
    return "test: " + "; ".join(f"{' and '.join(found)}: {counts}" for counts, found in datasets.items())


def _few_steps_warnings(rows: Iterable[Row]) -> list[str]:
    """Return a warning of rows whose heads took few gradient steps. Fitted fusions take none."""
    few = [row for row in rows if 0 < row.means.get("steps", 0) < _FEW_STEPS]
    steps = {row.name: row.means["steps"] for row in few}
    if not steps:
        return []
    least, most = min(steps.values()), max(steps.values())
    text = f"{len(steps)} row(s) had few gradient steps ({least:,.0f} to {most:,.0f}) and may be undertrained"
    batches = "batch_size=auto or " if any("batch_size" in row.axes.recipe for row in few) else ""
    return [f"{text}; {batches}more epochs in the recipe give more: {_listed(list(steps))}"]


def _single_class_warnings(results: RunResults) -> list[str]:
    """Return warnings of rows in which some or all cells predict a single class."""
    rows: dict[str, list[bool]] = {}
    for cell in results.cells():
        if cell["state"] == "done":
            name = "/".join(cell["axes"][axis] for axis in ("views", "fusion", "smoother"))
            rows.setdefault(name, []).append(cell["diagnostics"].get("predicted_classes") == 1)
    in_all = [name for name, cells in rows.items() if all(cells)]
    in_some = [
        f"{name} ({sum(cells)} of {len(cells)} cells)" for name, cells in rows.items() if any(cells) and not all(cells)
    ]
    found = []
    if in_all:
        found.append(f"{len(in_all)} row(s) predict one class only: {_listed(in_all)}")
    if in_some:
        found.append(f"in {len(in_some)} row(s) some cells predict one class only: {_listed(in_some)}")
    return found


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
