"""The table of the page: texts as they are read, and the values that they are sorted by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fusionkit.grid.results import Row, RunResults
from fusionkit.report.numbers import amount, p_value, share, share_with_interval, signed_with_interval
from fusionkit.report.row_names import RowNames
from fusionkit.report.significance import Significance

_CONTEXT = ("dataset", "split", "extractor", "backbone", "recipe")


@dataclass(frozen=True)
class Column:
    """A heading; ``is_number`` columns are set right."""

    name: str
    is_number: bool = True
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """An interval as a bar, in percent of its column: where it begins, how long it is, where its value lies."""

    left: float
    width: float
    point: float
    zero: float | None = None


@dataclass(frozen=True)
class Entry:
    """What stands in one place of the table; ``key`` is what it is sorted by, empty where there is nothing."""

    text: str
    key: str = ""
    bar: Bar | None = None


@dataclass(frozen=True)
class Line:
    """One row."""

    id: str
    standing: str
    entries: list[Entry]


@dataclass(frozen=True)
class PageTable:
    """Columns and lines, by falling score; what is not finished stands below.

    Attributes:
        sorted_by: the place of the column that lines are sorted by.
    """

    columns: list[Column]
    lines: list[Line]
    sorted_by: int


def page_table(results: RunResults, standing: dict[str, Significance]) -> PageTable:
    """The table of a folder; columns of which nothing is known, and axes that do not vary, are left out."""
    rows = sorted(results.rows, key=lambda row: -row.score.value if row.score else math.inf)
    called = RowNames(row.axes for row in rows)
    axes = [name for name in _CONTEXT if len({getattr(row.axes, name) for row in rows}) > 1]
    names = [*axes, "views", "fusion", "smoother"]
    partly = any(row.means.get("coverage", 1.0) < 1.0 for row in rows)
    seeds = len({len(row.seeds) for row in rows}) > 1
    columns = [
        *(Column(name, is_number=False) for name in names),
        Column("macro-F1 [95 %]"),
        Column("standing", is_number=False),
        Column("difference to the reference [95 %]"),
        Column("p Holm", note="unit-swap permutation against the reference, corrected over the rows of the table"),
        *(Column(name) for name in ("accuracy", "UAR", "ECE")),
        *([Column("covered", note="frames that had every view")] if partly else []),
        *([Column("seeds")] if seeds else []),
        Column("parameters"),
        Column("FLOP", note="of one frame, counted by PyTorch"),
    ]
    spans = _span([row.score for row in rows]), _span([row.delta for row in rows])
    lines = []
    for row in rows:
        mark = standing.get(row.id, "") if len(rows) > 1 else ""
        entries = [Entry(_named(row, name, called), getattr(row.axes, name)) for name in names]
        score, *numbers = _numbers(row, spans, partly=partly, seeds=seeds)
        entries += [score, Entry(mark, mark), *numbers]
        lines.append(Line(row.id[:7], mark, entries))
    kept = [place for place in range(len(columns)) if any(line.entries[place].text for line in lines)]
    return PageTable(
        [columns[place] for place in kept],
        [Line(line.id, line.standing, [line.entries[place] for place in kept]) for line in lines],
        sum(place < len(names) for place in kept),
    )


def _named(row: Row, axis: str, called: RowNames) -> str:
    asked = called.part(row.axes, axis)
    settled = {"smoother": row.chosen, "recipe": row.chosen_recipe}.get(axis, asked)
    return asked if settled == asked else f"{settled} (chosen for {asked})"


_Span = tuple[float, float]


def _numbers(row: Row, spans: tuple[_Span, _Span], *, partly: bool, seeds: bool) -> list[Entry]:
    if row.score is None:
        return [Entry("failed" if row.failures else "not run"), *[Entry("")] * (7 + partly + seeds)]
    delta = Entry("reference" if row.is_reference else "")
    if row.delta:
        delta = Entry(signed_with_interval(row.delta), _key(row.delta.value), _bar(row.delta, spans[1], zero=True))
    means = row.means
    return [
        Entry(share_with_interval(row.score), _key(row.score.value), _bar(row.score, spans[0], zero=False)),
        delta,
        Entry(p_value(row.p_holm) if row.delta else "", _key(row.p_holm)),
        *(Entry(share(means[name]), _key(means[name])) for name in ("accuracy", "uar", "ece")),
        *([Entry(f"{100 * means['coverage']:.1f} %", _key(means["coverage"]))] if partly else []),
        *([Entry(str(len(row.seeds)), _key(len(row.seeds)))] if seeds else []),
        *(Entry(amount(value), _key(value)) for value in (means["params"], 1e9 * means["gflops"])),
    ]


def _key(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.9g}"


def _span(estimates: Sequence[Any]) -> _Span:
    """From the lowest bound to the highest; 0 is always in the span of differences, as some bound lies on each side."""
    known = [
        value for each in estimates if each for value in (each.low, each.value, each.high) if not math.isnan(value)
    ]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _bar(estimate: Any, span: _Span, *, zero: bool) -> Bar:
    low, high = (min(span[0], 0.0), max(span[1], 0.0)) if zero else span

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    ends = [estimate.value if math.isnan(bound) else bound for bound in (estimate.low, estimate.high)]
    return Bar(
        place(ends[0]), round(place(ends[1]) - place(ends[0]), 2), place(estimate.value), place(0.0) if zero else None
    )
