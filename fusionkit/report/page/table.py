"""Table of the page: texts, values to sort by, and intervals as bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fusionkit.grid.results import Row, RunResults
from fusionkit.report.numbers import amount, p_value, share, share_with_interval, signed_with_interval
from fusionkit.report.row_names import RowNames, varying
from fusionkit.report.significance import Significance
from fusionkit.report.table import CONTEXT, coverage_text, has_incomplete_coverage, unfinished_text
from fusionkit.stats.intervals import Estimate

_Span = tuple[float, float]


@dataclass(frozen=True)
class Column:
    """A column: its heading, whether it is right-aligned, and a tooltip."""

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
    names = RowNames(row.axes for row in rows)
    axes = [*varying((row.axes for row in rows), CONTEXT), "views", "fusion", "smoother"]
    with_coverage = has_incomplete_coverage(rows)
    with_seeds = len({len(row.seeds) for row in rows}) > 1
    columns = [
        *(Column(name, is_number=False) for name in axes),
        Column("macro-F1 [95 %]"),
        Column("significance", is_number=False, note="compared with the best row"),
        Column("difference to the reference [95 %]"),
        Column("p Holm", note="unit-swap permutation test against the reference, Holm-corrected over the rows"),
        *(Column(name) for name in ("accuracy", "UAR", "ECE")),
        *([Column("coverage", note="share of test frames with every view")] if with_coverage else []),
        *([Column("seeds")] if with_seeds else []),
        Column("parameters"),
        Column("FLOP", note="per frame, counted by PyTorch"),
    ]
    spans = _span([row.score for row in rows]), _span([row.delta for row in rows])
    lines = []
    for row in rows:
        mark = significance.get(row.id, "") if len(rows) > 1 else ""
        score, *numbers = _numbers(row, spans, with_coverage=with_coverage, with_seeds=with_seeds)
        settings = [Entry(_setting(row, name, names), getattr(row.axes, name)) for name in axes]
        lines.append(Line(row.id[:7], mark, [*settings, score, Entry(mark, mark), *numbers]))
    kept = [index for index in range(len(columns)) if any(line.entries[index].text for line in lines)]
    return PageTable(
        [columns[index] for index in kept],
        [Line(line.id, line.significance, [line.entries[index] for index in kept]) for line in lines],
        sum(index < len(axes) for index in kept),
    )


def _setting(row: Row, axis: str, names: RowNames) -> str:
    given = names.part(row.axes, axis)
    chosen = {"smoother": row.chosen, "recipe": row.chosen_recipe}.get(axis, given)
    return given if chosen == given else f"{chosen} (chosen from {given})"


def _numbers(row: Row, spans: tuple[_Span, _Span], *, with_coverage: bool, with_seeds: bool) -> list[Entry]:
    if row.score is None:
        return [Entry(unfinished_text(row)), *[Entry("")] * (7 + with_coverage + with_seeds)]
    delta = Entry("reference" if row.is_reference else "")
    if row.delta:
        delta = Entry(signed_with_interval(row.delta), _key(row.delta.value), _bar(row.delta, spans[1], zero=True))
    means = row.means
    return [
        Entry(share_with_interval(row.score), _key(row.score.value), _bar(row.score, spans[0], zero=False)),
        delta,
        Entry(p_value(row.p_holm) if row.delta else "", _key(row.p_holm)),
        *(Entry(share(means[name]), _key(means[name])) for name in ("accuracy", "uar", "ece")),
        *([Entry(coverage_text(row), _key(means["coverage"]))] if with_coverage else []),
        *([Entry(str(len(row.seeds)), _key(len(row.seeds)))] if with_seeds else []),
        *(Entry(amount(value), _key(value)) for value in (means["params"], 1e9 * means["gflops"])),
    ]


def _key(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.9g}"


def _span(estimates: Sequence[Estimate | None]) -> _Span:
    """Return the lowest and the highest bound."""
    known = [
        value for each in estimates if each for value in (each.low, each.value, each.high) if not math.isnan(value)
    ]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _bar(estimate: Estimate, span: _Span, *, zero: bool) -> Bar:
    low, high = (min(span[0], 0.0), max(span[1], 0.0)) if zero else span

    def percent(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    left, right = (percent(estimate.value if math.isnan(bound) else bound) for bound in (estimate.low, estimate.high))
    return Bar(left, round(right - left, 2), percent(estimate.value), percent(0.0) if zero else None)
