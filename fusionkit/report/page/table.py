"""Table of the page: texts, values to sort by, and intervals as bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from fusionkit.grid.results import Row, RunResults
from fusionkit.report.csv_files import weights_text
from fusionkit.report.numbers import amount, p_value, percent, share, share_with_interval, signed_with_interval
from fusionkit.report.row_names import RowNames, varying
from fusionkit.report.significance import Significance
from fusionkit.report.table import CONTEXT, has_incomplete_coverage, unfinished_text
from fusionkit.stats.crossed import Estimate

_Span = tuple[float, float]


@dataclass(frozen=True)
class Column:
    """A column: heading, whether it holds numbers, and tooltip."""

    name: str
    is_number: bool = True
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """An interval as a bar, in percent of the width of its column: start, length, value, and zero of differences."""

    left: float
    width: float
    point: float
    zero: float | None = None


@dataclass(frozen=True)
class Entry:
    """A cell of the table; ``key`` is its value for sorting, empty if it has none."""

    text: str
    key: str = ""
    bar: Bar | None = None


@dataclass(frozen=True)
class Line:
    """A line of the table: short id of the row, its significance or an empty text, and its cells."""

    id: str
    significance: str
    entries: list[Entry]


_ColumnOfRows = tuple[Column, Callable[[Row], Entry]]


@dataclass(frozen=True)
class PageTable:
    """Columns and lines, by falling score; rows without a score are last.

    Attributes:
        sorted_by: index of the column that lines are sorted by.
    """

    columns: list[Column]
    lines: list[Line]
    sorted_by: int


def page_table(results: RunResults, significance: dict[str, Significance]) -> PageTable:
    """Return the table of a run folder, without empty columns and without axes that do not vary."""
    rows = sorted(results.rows, key=lambda row: -row.score.value if row.score else math.inf)
    axes = [*varying((row.axes for row in rows), CONTEXT), "views", "fusion", "smoother"]
    marks = significance if len(rows) > 1 else {}
    columns = [*_setting_columns(rows, axes), *_score_columns(rows, marks, results.metric), *_mean_columns(rows)]
    columns = [(column, entry) for column, entry in columns if any(entry(row).text for row in rows)]
    return PageTable(
        [column for column, _ in columns],
        [Line(row.id[:7], marks.get(row.id, ""), [entry(row) for _, entry in columns]) for row in rows],
        sorted_by=[column.name for column, _ in columns].index(f"{results.metric} [95 %]"),
    )


def _setting_columns(rows: list[Row], axes: list[str]) -> Iterator[_ColumnOfRows]:
    names = RowNames(rows)

    def entry(row: Row, axis: str) -> Entry:
        given = names.part(row.axes, axis)
        chosen = {"smoother": row.chosen, "fusion": row.chosen_fusion, "recipe": row.chosen_recipe}.get(axis, given)
        text = given if chosen == given else f"{chosen} (chosen from {given})"
        return Entry(text, getattr(row.axes, axis))

    return ((Column(axis, is_number=False), partial(entry, axis=axis)) for axis in axes)


def _score_columns(rows: list[Row], marks: dict[str, Significance], metric: str) -> Iterator[_ColumnOfRows]:
    scores, deltas = _span([row.score for row in rows]), _span([row.delta for row in rows])

    def score(row: Row) -> Entry:
        if row.score is None:
            return Entry(unfinished_text(row))
        return _number(share_with_interval(row.score), row.score.value, _bar(row.score, scores, zero=False))

    def delta(row: Row) -> Entry:
        if row.delta is None:
            return Entry("reference" if row.is_reference and row.score else "")
        return _number(signed_with_interval(row.delta), row.delta.value, _bar(row.delta, deltas, zero=True))

    def mark(row: Row) -> Entry:
        return Entry(marks.get(row.id, ""), marks.get(row.id, ""))

    def p_holm(row: Row) -> Entry:
        return _number(p_value(row.p_holm) if row.delta else "", row.p_holm)

    note = "of the difference from the reference, Holm-corrected over the rows"
    yield Column(f"{metric} [95 %]"), score
    yield Column("significance", is_number=False, note="compared with the best row"), mark
    yield Column("difference to the reference [95 %]"), delta
    yield Column("p Holm", note=note), p_holm


def _mean_columns(rows: list[Row]) -> Iterator[_ColumnOfRows]:
    def mean(name: str, text: Callable[[float], str] = share, factor: float = 1) -> Callable[[Row], Entry]:
        return lambda row: (
            _number(text(factor * row.means[name]), factor * row.means[name]) if name in row.means else Entry("")
        )

    yield from (
        (Column(name), mean(name.lower())) for name in ("accuracy", "UAR", "ECE", "precision", "recall", "PCC", "RMSE")
    )
    if has_incomplete_coverage(rows):
        yield Column("coverage", note=f"share of test {rows[0].axes.scored} with every view"), mean("coverage", percent)
    if len({len(row.seeds) for row in rows}) > 1:
        yield Column("seeds"), lambda row: _number(str(len(row.seeds)), len(row.seeds)) if row.score else Entry("")
    note = "random: the weights of a backbone are not trained"
    yield Column("weights", is_number=False, note=note), lambda row: Entry(weights_text(row.random_backbones))
    yield Column("parameters"), mean("params", amount)
    yield Column("FLOP", note="per frame, counted by PyTorch"), mean("gflops", amount, 1e9)


def _number(text: str, value: float, bar: Bar | None = None) -> Entry:
    return Entry(text, "" if math.isnan(value) else f"{value:.9g}", bar)


def _span(estimates: Sequence[Estimate | None]) -> _Span:
    """Return the lowest and the highest bound."""
    known = [
        value for each in estimates if each for value in (each.low, each.value, each.high) if not math.isnan(value)
    ]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _bar(estimate: Estimate, span: _Span, *, zero: bool) -> Bar:
    low, high = (min(span[0], 0.0), max(span[1], 0.0)) if zero else span

    def position(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    left, right = (position(estimate.value if math.isnan(bound) else bound) for bound in (estimate.low, estimate.high))
    return Bar(left, round(right - left, 2), position(estimate.value), position(0.0) if zero else None)
