"""A figure: a Vega-Lite chart, what it says in words, and its numbers as a table for those who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from fusionkit.report.numbers import share

if TYPE_CHECKING:
    import altair as alt

    AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart
    from fusionkit.stats.intervals import Estimate


# Okabe and Ito's colours, which the colour-blind can tell apart (https://jfly.uni-koeln.de/color/), those that stand
# out from white and from black first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [1, 3], [10, 4], [4, 1])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
SERIES = 4  # that a reader can follow where each has intervals
SCHEME: Literal["cividis"] = "cividis"  # grows evenly in lightness, also for the colour-blind
INK = "currentColor"  # a figure takes the colour of the text around it: light, dark and in print


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure.

    Attributes:
        name: of its file.
        title: a heading.
        caption: what is shown, and what the marks are.
        words: what is to be seen, in a sentence or two.
        chart: drawn by :meth:`svg`.
        columns: of the table of its numbers; empty for none.
        rows: as many texts as columns each.
    """

    name: str
    title: str
    caption: str
    words: str
    chart: AnyChart
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()

    def svg(self) -> str:
        """The chart as SVG, which draws with the text's colour on no ground."""
        import vl_convert

        spec: dict[str, Any] = {**self.chart.to_dict(validate=False), "config": _config()}
        drawn: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
        return drawn


def said(*lines: str, row: str = "") -> str:
    """What a mark says of itself where it is pointed at; the last line names its row, which the page lights up."""
    return "\n".join((*lines, *([f"row {row[:7]}"] if row else [])))


@contextmanager
def unchecked() -> Iterator[None]:
    """Charts are built without holding every part of them against Vega-Lite's schema: that is for tests."""
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):
        yield


def _config() -> dict[str, Any]:
    quiet = {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    }
    lines = {"domainColor": INK, "tickColor": INK, "gridColor": INK}
    return {
        "background": None,
        "view": {"stroke": None},
        "axis": {**quiet, **lines, "gridOpacity": 0.15, "domainOpacity": 0.5, "tickOpacity": 0.5, "labelLimit": 460},
        "legend": {**quiet, "labelLimit": 460, "symbolStrokeColor": INK},
        "header": {**quiet, "labelFontSize": 12},
        "title": {"color": INK, "fontSize": 12, "anchor": "start"},
        "rule": {"color": INK},
        "text": {"color": INK},
    }


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


_WIDTH, _HEIGHT, _STEP, _ASIDE = 460, 260, 18, 5


@dataclass(frozen=True)
class Mark:
    """One value of a series with its bounds, at a number or a name; what it says where it is pointed at."""

    series: str
    at: float | str
    value: float
    low: float
    high: float
    says: str

    @classmethod
    def of(cls, series: str, at: float | str, estimate: Estimate, says: str) -> Mark:
        """From an estimate."""
        return cls(series, at, estimate.value, estimate.low, estimate.high, says)


def curves(marks: Sequence[Mark], x: str, y: str, legend: str) -> AnyChart:
    """Lines over numbers."""
    import altair as alt

    values, series = _values(marks)
    upright = alt.Y("value:Q", title=y, scale=alt.Scale(zero=False))
    dashes = alt.Scale(domain=series, range=list(DASHES))
    layers: list[Any] = []
    for place, name in enumerate(series):
        aside = _ASIDE * (place - (len(series) - 1) / 2)  # px: bars of several series stand beside each other
        base = alt.Chart(alt.InlineData(values=[value for value in values if value["series"] == name])).encode(
            x=alt.X("at:Q", title=x, scale=alt.Scale(zero=False, nice=False, padding=14)),
            color=_colour(series, legend),
            description="says:N",
        )
        line = base.mark_line(strokeWidth=2, aria=False, xOffset=aside).encode(
            y=upright, strokeDash=alt.StrokeDash("series:N", sort=series, scale=dashes, title=legend)
        )
        bars = base.mark_rule(xOffset=aside, x2Offset=aside).encode(y=alt.Y("low:Q", title=y), y2="high:Q")
        points = base.mark_point(filled=True, size=60, opacity=1, xOffset=aside)
        layers += [line, bars, points.encode(y=upright, shape=_shape(series, legend))]
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)


def ladder(marks: Sequence[Mark], x: str, y: str, legend: str, *, zero: bool) -> AnyChart:
    """Points with bars, a line a name; with several series one below the other in it.

    Args:
        marks: at names.
        x: title of the value.
        y: title of the names.
        legend: title of the series; not shown where there is one series.
        zero: mark 0, for differences.
    """
    import altair as alt

    values, series = _values(marks)
    names = list(dict.fromkeys(str(mark.at) for mark in marks))
    several = len(series) > 1
    across = alt.X("value:Q", title=x, scale=alt.Scale(zero=zero))
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("at:N", sort=names, title=y, axis=alt.Axis(grid=several)),
        color=_colour(series, legend) if several else alt.value(PALETTE[0]),
        description="says:N",
    )
    if several:
        base = base.encode(yOffset=alt.YOffset("series:N", sort=series))
    bars = base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q", title=x, scale=alt.Scale(zero=zero)), x2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=across, shape=_shape(series, legend) if several else alt.value("circle")
    )
    layers: list[Any] = [bars, points]
    if zero:
        nought = (
            alt.Chart(alt.InlineData(values=[{"nought": 0}]))
            .mark_rule(strokeDash=[3, 3], aria=False)
            .encode(x="nought:Q")
        )
        layers.insert(0, nought)
    step = alt.Step(_STEP if not several else 14, **({"for": "position"} if not several else {}))
    height: Any = step if not several else len(names) * (len(series) * 13 + 8)
    return alt.layer(*layers).properties(width=_WIDTH, height=height)


def _values(marks: Sequence[Mark]) -> tuple[list[dict[str, Any]], list[str]]:
    """Records, NaN bounds drawn as the value; and the series in the order in which they come."""
    records = []
    for mark in marks:
        record = asdict(mark)
        if mark.low != mark.low:  # NaN: there is no interval
            record |= {"low": mark.value, "high": mark.value}
        records.append(record)
    return records, list(dict.fromkeys(mark.series for mark in marks))


def _colour(series: list[str], legend: str) -> alt.Color:
    import altair as alt

    scale = alt.Scale(domain=series, range=list(PALETTE))
    return alt.Color("series:N", scale=scale, sort=series, title=legend, legend=_legend(series))


def _shape(series: list[str], legend: str) -> alt.Shape:
    import altair as alt

    scale = alt.Scale(domain=series, range=list(SHAPES))
    return alt.Shape("series:N", scale=scale, sort=series, title=legend, legend=_legend(series))


def _legend(series: list[str]) -> alt.Legend | None:
    import altair as alt

    return (
        alt.Legend(orient="bottom", direction="vertical", symbolSize=80, symbolOpacity=1) if len(series) > 1 else None
    )
