"""The best rows by their macro-F1, with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fusionkit.grid.axes import Axes
from fusionkit.grid.results import Row, RunResults
from fusionkit.registry.spec import Spec
from fusionkit.report.charts.figure import SERIES, Figure, Mark, Tile, curves, ladder, said, tiles
from fusionkit.report.numbers import share, share_with_interval
from fusionkit.report.row_names import RowNames, varying

_ROWS = 40


def score_figure(results: RunResults) -> Iterator[Figure]:
    """One figure, where there are two rows or more with a score."""
    scored = [(row, row.score) for row in results.rows if row.score]
    if len(scored) < 2:
        return
    scored.sort(key=lambda item: -item[1].value)
    shown = scored[:_ROWS]
    called = RowNames(row.axes for row in results.rows)
    names = [called(row.axes) for row, _ in shown]
    marks = [
        Mark.of("", name, score, said(name, share_with_interval(score), row=row.id))
        for name, (row, score) in zip(names, shown, strict=True)
    ]
    rest = f" The best {_ROWS} of {len(scored)} rows." if len(scored) > _ROWS else ""
    yield Figure(
        "scores",
        "Rows by macro-F1",
        f"With 95 % intervals of each row alone: whether two rows differ is for the paired tests to say.{rest}",
        f"From {share(shown[0][1].value)} for {names[0]} down to {share(shown[-1][1].value)} for {names[-1]}.",
        ladder(marks, "macro-F1", "", "", zero=False),
        ("row", "macro-F1 [95 %]"),
        [(name, share_with_interval(score)) for name, (_, score) in zip(names, shown, strict=True)],
    )


_MAPS = 4
_APART = ("dataset", "split", "extractor", "backbone")
_CHOSEN = ("recipe", "smoother")


def grid_maps(results: RunResults) -> Iterator[Figure]:
    """Where two region sets or more meet two fusions or more, of each data set, extractor and backbone.

    Of recipes and smoothers the ones with the best row are shown: the others' maps look much the same.
    """
    axes = [row.axes for row in results.rows]
    called, different = RowNames(axes), varying(axes)
    maps: dict[tuple[str, ...], list[list[Row]]] = defaultdict(list)
    for (*apart, _, _), rows in _by_setting(results.rows).items():
        if _is_a_table(rows):
            maps[tuple(apart)].append(rows)
    for number, alike in enumerate(list(maps.values())[:_MAPS], 1):
        rows = max(alike, key=lambda rows: max(map(_score, rows)))
        shown = [name for name in (*_APART, *_CHOSEN) if name in different]
        where = ", ".join(f"{name} {called.part(rows[0].axes, name)}" for name in shown)
        yield _map(f"regions-by-fusion-{number}", where, rows, len(alike))


def _by_setting(rows: list[Row]) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row.score:
            found[tuple(getattr(row.axes, name) for name in (*_APART, *_CHOSEN))].append(row)
    return found


def _is_a_table(rows: list[Row]) -> bool:
    views, fusions = ({getattr(row.axes, name) for row in rows} for name in ("views", "fusion"))
    return len(views) > 1 and len(fusions) > 1 and len(rows) > len(views) + len(fusions) - 2


def _map(name: str, where: str, rows: list[Row], alike: int) -> Figure:
    scores = {(row.axes.views, row.axes.fusion): row for row in rows}
    views, fusions = (list(dict.fromkeys(getattr(row.axes, axis) for row in rows)) for axis in ("views", "fusion"))
    found = [_tile(scores[v, f]) if (v, f) in scores else Tile(v, f, float("nan")) for v in views for f in fusions]
    best = max(rows, key=_score)
    others = f" Of {alike} such maps this holds the best row." if alike > 1 else ""
    return Figure(
        name,
        "Region set by fusion" + (f": {where}" if where else ""),
        f"Macro-F1; lighter is higher. Empty: not in the grid, or not finished.{others}",
        f"Highest is {share(_score(best))}, {best.axes.views} with {best.axes.fusion}.",
        tiles(found, "region set", "fusion"),
        ("views", "fusion", "macro-F1 [95 %]"),
        [(row.axes.views, row.axes.fusion, share_with_interval(row.score)) for row in rows if row.score],
    )


def _tile(row: Row) -> Tile:
    number = share_with_interval(row.score) if row.score else ""
    says = said(f"{row.axes.views} with {row.axes.fusion}", number, row=row.id)
    return Tile(row.axes.views, row.axes.fusion, _score(row), says)


def _score(row: Row) -> float:
    return row.score.value if row.score else float("nan")


_Varied = tuple[str, str]  # the smoother with its other options, and the option that was varied


def smoothing_figures(results: RunResults) -> Iterator[Figure]:
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
    best = sorted(lines, key=lambda axes: -max(_score_by_width(row) for row in lines[axes].values()))[:SERIES]
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


def _score_by_width(row: Row) -> float:
    return row.score.value if row.score else float("nan")
