"""A table of shares as shaded tiles with their numbers: heat maps, F1 by class, confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionkit.report.charts.figure import SCHEME
from fusionkit.report.numbers import share

if TYPE_CHECKING:
    from fusionkit.report.charts.figure import AnyChart

_TILE_HEIGHT, _TILE_WIDTH = 22, 46
_MIDDLE = 0.473  # of the scale: here black and white are read alike, at a contrast of 4.6


@dataclass(frozen=True)
class Tile:
    """One value, 0..1, and what it says where it is pointed at; NaN tiles are left out."""

    row: str
    column: str
    value: float
    says: str = ""


def tiles(
    values: Sequence[Tile], row_title: str, column_title: str, span: tuple[float, float] | None = None
) -> AnyChart:
    """Tiles in the order in which rows and columns come.

    Args:
        values: one a tile.
        row_title: of the vertical axis.
        column_title: of the horizontal axis.
        span: values of the darkest and the lightest tile; None: the smallest and the largest value.
    """
    import altair as alt

    known = [tile for tile in values if not math.isnan(tile.value)]
    low, high = span or (min(tile.value for tile in known), max(tile.value for tile in known))
    high = high if high > low else low + 1e-9
    records = [
        {
            "row": tile.row,
            "column": tile.column,
            "value": tile.value,
            "shown": share(tile.value),
            "says": tile.says,
            "light": (tile.value - low) / (high - low) > _MIDDLE,
        }
        for tile in known
    ]
    rows = list(dict.fromkeys(tile.row for tile in values))
    columns = list(dict.fromkeys(tile.column for tile in values))
    base = alt.Chart(alt.InlineData(values=records)).encode(
        x=alt.X("column:N", sort=columns, title=column_title, scale=alt.Scale(domain=columns)).axis(
            orient="top", labelAngle=-40, grid=False
        ),
        y=alt.Y("row:N", sort=rows, title=row_title, scale=alt.Scale(domain=rows)).axis(grid=False),
        description="says:N",
    )
    shaded = base.mark_rect().encode(
        color=alt.Color("value:Q", legend=None, scale=alt.Scale(scheme=SCHEME, domain=[low, high]))
    )
    text = base.mark_text(fontSize=11).encode(
        text="shown:N", color=alt.condition("datum.light", alt.value("#000000"), alt.value("#ffffff"))
    )
    return alt.layer(shaded, text).properties(width=alt.Step(_TILE_WIDTH), height=alt.Step(_TILE_HEIGHT))
