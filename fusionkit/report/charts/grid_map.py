"""Region set by fusion: macro-F1 as a heat map, one for each setting of the other axes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from fusionkit.report.charts.figure import Figure
from fusionkit.report.charts.row_names import varying
from fusionkit.report.charts.shaded import Tile, tiles
from fusionkit.report.numbers import share, share_with_interval
from fusionkit.report.results import Results, Row

_MAPS = 4


def grid_maps(results: Results) -> Iterator[Figure]:
    """For the settings with the best rows, where two region sets or more meet two fusions or more."""
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = defaultdict(list)
    others = [name for name in varying(row.axes for row in results.rows) if name not in ("views", "fusion")]
    for row in results.rows:
        if row.score:
            groups[tuple((name, getattr(row.axes, name)) for name in others)].append(row)
    full = [(setting, rows) for setting, rows in groups.items() if _is_a_table(rows)]
    full.sort(key=lambda item: -max(_score(row) for row in item[1]))
    for number, (setting, rows) in enumerate(full[:_MAPS], 1):
        yield _map(f"regions-by-fusion-{number}", setting, rows)


def _is_a_table(rows: list[Row]) -> bool:
    views, fusions = ({getattr(row.axes, name) for row in rows} for name in ("views", "fusion"))
    return len(views) > 1 and len(fusions) > 1 and len(rows) > len(views) + len(fusions) - 2


def _map(name: str, setting: tuple[tuple[str, str], ...], rows: list[Row]) -> Figure:
    scores = {(row.axes.views, row.axes.fusion): row for row in rows}
    views, fusions = (list(dict.fromkeys(getattr(row.axes, axis) for row in rows)) for axis in ("views", "fusion"))
    nothing = float("nan")
    found = [Tile(v, f, _score(scores[v, f]) if (v, f) in scores else nothing) for v in views for f in fusions]
    best = max(rows, key=_score)
    where = ", ".join(f"{axis} {value}" for axis, value in setting)
    return Figure(
        name,
        "Region set by fusion" + (f": {where}" if where else ""),
        "Macro-F1; lighter is higher. Empty: not in the grid, or not finished.",
        f"Highest is {share(_score(best))}, {best.axes.views} with {best.axes.fusion}.",
        tiles(found, "region set", "fusion"),
        ("views", "fusion", "macro-F1 [95 %]"),
        [(row.axes.views, row.axes.fusion, share_with_interval(row.score)) for row in rows if row.score],
    )


def _score(row: Row) -> float:
    return row.score.value if row.score else float("nan")
