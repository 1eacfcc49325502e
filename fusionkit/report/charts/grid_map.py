"""Region set by fusion: macro-F1 as a heat map, one for each data set and backbone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from fusionkit.report.charts.figure import Figure, said
from fusionkit.report.charts.shaded import Tile, tiles
from fusionkit.report.numbers import share, share_with_interval
from fusionkit.report.results import Results, Row
from fusionkit.report.row_names import RowNames, varying

_MAPS = 4
_APART = ("dataset", "split", "extractor", "backbone")
_CHOSEN = ("recipe", "smoother")


def grid_maps(results: Results) -> Iterator[Figure]:
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
