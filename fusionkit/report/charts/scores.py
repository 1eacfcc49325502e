"""Figures of the metric: rows with intervals, region set by fusion, smoother options."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fusionkit.grid.axes import RANDOM_MARK, Axes
from fusionkit.grid.results import Row, RunResults
from fusionkit.registry.spec import Spec
from fusionkit.report.charts.figure import (
    MAX_SERIES,
    Figure,
    Mark,
    Tile,
    heat_map,
    heat_map_width,
    interval_plot,
    line_plot,
    tooltip,
)
from fusionkit.report.numbers import capital, share, share_with_interval
from fusionkit.report.row_names import RowNames, settings_in_common, varying

_ROWS, _MAPS = 20, 4
_CONTEXT = ("task", "learned_with", "dataset", "split", "extractor", "backbone")
_BEST_ONLY = ("recipe", "smoother")
_OptionKey = tuple[str, str]  # smoother with its other options, name of the varied option


def score_figure(results: RunResults) -> Iterator[Figure]:
    """Yield a figure of the best rows, if two or more have a score."""
    scored = [(row, row.score) for row in results.rows if row.score]
    if len(scored) < 2:
        return
    scored.sort(key=lambda item: -item[1].value)
    shown = scored[:_ROWS]
    name_of = RowNames([row for row, _ in shown])
    names = [name_of(row.axes) for row, _ in shown]
    common = settings_in_common([row.axes for row, _ in shown], [row.axes for row in results.rows])
    marks = [
        Mark.of("", name, score, tooltip(name, share_with_interval(score), row=row.id))
        for name, (row, score) in zip(names, shown, strict=True)
    ]
    selection = f" The best {_ROWS} of {len(scored)} rows." if len(scored) > _ROWS else ""
    yield Figure(
        "scores",
        f"Rows by {results.metric}",
        "With 95 % intervals of single rows. Whether two rows differ significantly is decided by the paired tests."
        f"{selection}{common}",
        f"From {share(shown[0][1].value)} for {names[0]} down to {share(shown[-1][1].value)} for {names[-1]}.",
        interval_plot(marks, results.metric, "", "", zero=False),
        ("row", f"{results.metric} [95 %]"),
        [(name, share_with_interval(score)) for name, (_, score) in zip(names, shown, strict=True)],
    )


def grid_maps(results: RunResults) -> Iterator[Figure]:
    """Yield heat maps of region set by fusion, one per data set, extractor and backbone.

    Of several recipes and smoothers the map with the best row is shown; the others look similar.
    """
    names, varied = RowNames(results.rows), varying(row.axes for row in results.rows)
    maps: dict[tuple[str, ...], list[list[Row]]] = defaultdict(list)
    for (*context, _, _), rows in _by_setting(results.rows).items():
        if _is_map(rows):
            maps[tuple(context)].append(rows)
    for number, similar in enumerate(list(maps.values())[:_MAPS], 1):
        rows = max(similar, key=lambda rows: max(map(_score, rows)))
        settings = [name for name in (*_CONTEXT, *_BEST_ONLY) if name in varied]
        title = ", ".join(f"{name} {names.part(rows[0].axes, name)}" for name in settings)
        mark = RANDOM_MARK if any(row.random_backbones for row in rows) else ""
        yield _map(f"regions-by-fusion-{number}", title + mark, rows, len(similar))


def smoothing_figures(results: RunResults) -> Iterator[Figure]:
    """Yield a figure for each numeric option of a smoother that takes several values, with the best rows."""
    for number, ((smoother, option), rows) in enumerate(_varied_options(results.rows).items(), 1):
        yield _smoothing(f"smoothing-{number}", smoother, option, rows, results)


def _score(row: Row) -> float:
    return row.score.value if row.score else float("nan")


def _by_setting(rows: list[Row]) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row.score:
            found[tuple(getattr(row.axes, name) for name in (*_CONTEXT, *_BEST_ONLY))].append(row)
    return found


def _is_map(rows: list[Row]) -> bool:
    views, fusions = ({getattr(row.axes, name) for row in rows} for name in ("views", "fusion"))
    return len(views) > 1 and len(fusions) > 1 and len(rows) > len(views) + len(fusions) - 2


def _map(name: str, title: str, rows: list[Row], similar: int) -> Figure:
    scores = {(row.axes.views, row.axes.fusion): row for row in rows}
    views, fusions = (list(dict.fromkeys(getattr(row.axes, axis) for row in rows)) for axis in ("views", "fusion"))
    tiles = [
        _tile(scores[v, f], v, f) if (v, f) in scores else Tile(v, f, float("nan")) for v in views for f in fusions
    ]
    row_title, column_title = "region set", "fusion"
    if heat_map_width(views) < heat_map_width(fusions):  # names have more room beside rows than above columns
        tiles = [replace(tile, row=tile.column, column=tile.row) for f in fusions for tile in tiles if tile.column == f]
        row_title, column_title = column_title, row_title
    best = max(rows, key=_score)
    selection = f" Of {similar} such maps, the one with the best row." if similar > 1 else ""
    return Figure(
        name,
        "Region set by fusion" + (f": {title}" if title else ""),
        f"{capital(best.task.metric_name)}; lighter is higher. Empty: not in the grid, or not finished.{selection}",
        f"Highest: {share(_score(best))}, {best.axes.views} with {best.axes.fusion}.",
        heat_map(tiles, row_title, column_title),
        ("views", "fusion", f"{best.task.metric_name} [95 %]"),
        [(row.axes.views, row.axes.fusion, share_with_interval(row.score)) for row in rows if row.score],
    )


def _tile(row: Row, views: str, fusion: str) -> Tile:
    number = share_with_interval(row.score) if row.score else ""
    return Tile(views, fusion, _score(row), tooltip(f"{views} with {fusion}", number, row=row.id))


def _varied_options(rows: list[Row]) -> Mapping[_OptionKey, dict[Axes, dict[float, Row]]]:
    """Return the scored rows by smoother option, by all other settings, and by value of the option."""
    found: dict[_OptionKey, dict[Axes, dict[float, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        spec = Spec.parse(row.axes.smoother)
        for option, value in spec.options.items():
            if row.score and isinstance(value, (int, float)) and not isinstance(value, bool):
                rest = Spec(spec.name, {name: other for name, other in spec.options.items() if name != option})
                found[str(rest), option][replace(row.axes, smoother="")][float(value)] = row
    return {key: lines for key, lines in found.items() if max(map(len, lines.values())) > 1}


def _smoothing(
    name: str, smoother: str, option: str, lines: dict[Axes, dict[float, Row]], results: RunResults
) -> Figure:
    rows, metric = results.rows, results.metric
    best = sorted(lines, key=lambda axes: -max(map(_score, lines[axes].values())))[:MAX_SERIES]
    name_of = RowNames(rows)
    names = {axes: name_of(replace(axes, smoother=smoother), without="smoother") for axes in best}
    unsmoothed = {replace(row.axes, smoother=""): row for row in rows if row.score and row.axes.smoother == "none"}
    marks, table = [], []
    for axes in best:
        for value, row in sorted(lines[axes].items()):
            if row.score:
                number = share_with_interval(row.score)
                text = tooltip(names[axes], f"{option} {value:g}: {number}", row=row.id)
                marks.append(Mark.of(names[axes], value, row.score, text))
                table.append((names[axes], f"{value:g}", number))
        plain = unsmoothed.get(axes)
        if plain and plain.score:
            table.append((names[axes], "not smoothed", share_with_interval(plain.score)))
    selection = f" The best {MAX_SERIES} of {len(lines)} rows." if len(lines) > MAX_SERIES else ""
    top = max(marks, key=lambda mark: mark.value)
    return Figure(
        name,
        f"Smoother {smoother} by {option}",
        f"{capital(metric)} with 95 % intervals.{selection}",
        f"Highest: {share(top.value)} at {option} {top.at:g} for {top.series}.",
        line_plot(marks, option, metric, "row"),
        ("row", option, f"{metric} [95 %]"),
        table,
    )
