"""Figures: a Vega-Lite chart with a caption, its result in words, and its numbers as a table for screen readers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from fusionkit.errors import printable
from fusionkit.report.numbers import share

if TYPE_CHECKING:
    import altair as alt

    from fusionkit.stats.crossed import Estimate

    AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart

# Okabe and Ito's palette for colour-blind readers (https://jfly.uni-koeln.de/color/), ordered by the contrast with
# white and black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
MAX_SERIES = 4  # more series with intervals cannot be read in one figure
INK = "currentColor"  # the colour of the surrounding text: light, dark and in print

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [1, 3], [10, 4], [4, 1])
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
_SCHEME: Literal["cividis"] = "cividis"  # uniform in lightness, also for the colour-blind
_WHITE_TEXT_BELOW = 0.473  # of the scale: here black and white text have the same contrast, 4.6
_TILE_HEIGHT, _TILE_WIDTH = 22, 46  # px
_WIDTH, _HEIGHT, _STEP, _OFFSET = 460, 260, 18, 5  # px


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure.

    Attributes:
        name: file name without extension.
        title: heading.
        caption: what is shown, and the meaning of the marks.
        words: the result in a sentence or two.
        chart: the chart.
        columns: headings of the table of its numbers; empty for none.
        rows: lines of the table, with as many texts as columns.
    """

    name: str
    title: str
    caption: str
    words: str
    chart: AnyChart
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()

    def svg(self) -> str:
        """Return the chart as SVG with a transparent background, in the colour of the surrounding text."""
        import vl_convert

        spec: dict[str, Any] = _printable({**self.chart.to_dict(validate=False), "config": _config()})
        svg: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
        return svg


@dataclass(frozen=True)
class Tile:
    """A value of a heat map with its tooltip; NaN is left empty."""

    row: str
    column: str
    value: float
    tooltip: str = ""


@dataclass(frozen=True)
class Mark:
    """A value of a series with its bounds and tooltip, at a number or a name."""

    series: str
    at: float | str
    value: float
    low: float
    high: float
    tooltip: str

    @classmethod
    def of(cls, series: str, at: float | str, estimate: Estimate, tooltip: str) -> Mark:
        """Return the mark of an estimate."""
        return cls(series, at, estimate.value, estimate.low, estimate.high, tooltip)


def tooltip(*lines: str, row: str = "") -> str:
    """Return the tooltip of a mark; its last line has the id of its row, by which the page highlights it."""
    return "\n".join((*lines, *([f"row {row[:7]}"] if row else [])))


@contextmanager
def unchecked() -> Iterator[None]:
    """Build charts without validation against the schema of Vega-Lite, which is slow; tests validate."""
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):
        yield


def heat_map(
    tiles: Sequence[Tile], row_title: str, column_title: str, span: tuple[float, float] | None = None
) -> AnyChart:
    """Return a heat map; rows and columns keep their order.

    Args:
        tiles: one per value.
        row_title: title of the vertical axis.
        column_title: title of the horizontal axis.
        span: values of the darkest and the lightest tile. Default: the smallest and the largest value.
    """
    import altair as alt

    known = [tile for tile in tiles if not math.isnan(tile.value)]
    low, high = span or (min(tile.value for tile in known), max(tile.value for tile in known))
    high = high if high > low else low + 1e-9
    values = [
        {
            **asdict(tile),
            "text": share(tile.value),
            "light": (tile.value - low) / (high - low) > _WHITE_TEXT_BELOW,
        }
        for tile in known
    ]
    rows = list(dict.fromkeys(tile.row for tile in tiles))
    columns = list(dict.fromkeys(tile.column for tile in tiles))
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("column:N", sort=columns, title=column_title, scale=alt.Scale(domain=columns)).axis(
            orient="top", labelAngle=-40, grid=False
        ),
        y=alt.Y("row:N", sort=rows, title=row_title, scale=alt.Scale(domain=rows)).axis(grid=False),
        description="tooltip:N",
    )
    shaded = base.mark_rect().encode(
        color=alt.Color("value:Q", legend=None, scale=alt.Scale(scheme=_SCHEME, domain=[low, high]))
    )
    text = base.mark_text(fontSize=11).encode(
        text="text:N", color=alt.condition("datum.light", alt.value("#000000"), alt.value("#ffffff"))
    )
    return alt.layer(shaded, text).properties(width=alt.Step(_TILE_WIDTH), height=alt.Step(_TILE_HEIGHT))


def line_plot(marks: Sequence[Mark], x: str, y: str, legend: str) -> AnyChart:
    """Return a line with intervals per series, over numbers.

    Args:
        marks: marks at numbers.
        x: title of the horizontal axis.
        y: title of the values.
        legend: title of the series.
    """
    import altair as alt

    values, series = _values(marks)
    vertical = alt.Y("value:Q", title=y, scale=alt.Scale(zero=False))
    dashes = alt.Scale(domain=series, range=list(_DASHES))
    layers: list[Any] = []
    for index, name in enumerate(series):
        offset = _OFFSET * (index - (len(series) - 1) / 2)  # px: the intervals of several series must not overlap
        base = alt.Chart(alt.InlineData(values=[value for value in values if value["series"] == name])).encode(
            x=alt.X("at:Q", title=x, scale=alt.Scale(zero=False, nice=False, padding=14)),
            color=_colour(series, legend),
            description="tooltip:N",
        )
        line = base.mark_line(strokeWidth=2, aria=False, xOffset=offset).encode(
            y=vertical, strokeDash=alt.StrokeDash("series:N", sort=series, scale=dashes, title=legend)
        )
        bars = base.mark_rule(xOffset=offset, x2Offset=offset).encode(y=alt.Y("low:Q", title=y), y2="high:Q")
        points = base.mark_point(filled=True, size=60, opacity=1, xOffset=offset)
        layers += [line, bars, points.encode(y=vertical, shape=_shape(series, legend))]
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)


def interval_plot(marks: Sequence[Mark], x: str, y: str, legend: str, *, zero: bool) -> AnyChart:
    """Return points with intervals, one line per name; several series are below each other within a name.

    Args:
        marks: marks at names.
        x: title of the values.
        y: title of the names.
        legend: title of the series; not shown for a single series.
        zero: draw a line at 0, for differences.
    """
    import altair as alt

    values, series = _values(marks)
    names = list(dict.fromkeys(str(mark.at) for mark in marks))
    several = len(series) > 1
    horizontal = alt.X("value:Q", title=x, scale=alt.Scale(zero=zero))
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("at:N", sort=names, title=y, axis=alt.Axis(grid=several)),
        color=_colour(series, legend) if several else alt.value(PALETTE[0]),
        description="tooltip:N",
    )
    if several:
        base = base.encode(yOffset=alt.YOffset("series:N", sort=series))
    bars = base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q", title=x, scale=alt.Scale(zero=zero)), x2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=horizontal, shape=_shape(series, legend) if several else alt.value("circle")
    )
    layers: list[Any] = [bars, points]
    if zero:
        origin = alt.Chart(alt.InlineData(values=[{"zero": 0}]))
        layers.insert(0, origin.mark_rule(strokeDash=[3, 3], aria=False).encode(x="zero:Q"))
    height: Any = len(names) * (len(series) * 13 + 8) if several else alt.Step(_STEP)
    return alt.layer(*layers).properties(width=_WIDTH, height=height)


def _values(marks: Sequence[Mark]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the values of the chart, NaN bounds replaced by the value, and the series in order."""
    values = []
    for mark in marks:
        bounds = {"low": mark.value, "high": mark.value} if math.isnan(mark.low) else {}
        values.append({**asdict(mark), **bounds})
    return values, list(dict.fromkeys(mark.series for mark in marks))


def _colour(series: list[str], legend: str) -> alt.Color:
    import altair as alt

    scale = alt.Scale(domain=series, range=list(PALETTE))
    return alt.Color("series:N", scale=scale, sort=series, title=legend, legend=_legend(series))


def _shape(series: list[str], legend: str) -> alt.Shape:
    import altair as alt

    scale = alt.Scale(domain=series, range=list(_SHAPES))
    return alt.Shape("series:N", scale=scale, sort=series, title=legend, legend=_legend(series))


def _legend(series: list[str]) -> alt.Legend | None:
    import altair as alt

    if len(series) == 1:
        return None
    return alt.Legend(orient="bottom", direction="vertical", symbolSize=80, symbolOpacity=1)


def _printable(value: Any) -> Any:
    """Return part of a specification with its texts made printable; V8 ends the process at some control characters."""
    if isinstance(value, dict):
        return {name: _printable(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_printable(part) for part in value]
    return printable(value, keep="\n") if isinstance(value, str) else value


def _config() -> dict[str, Any]:
    labels = {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "titleFontSize": 11}
    labels |= {"titleFontWeight": "normal"}
    lines = {"domainColor": INK, "tickColor": INK, "gridColor": INK}
    return {
        "background": None,
        "view": {"stroke": None},
        "axis": {**labels, **lines, "gridOpacity": 0.15, "domainOpacity": 0.5, "tickOpacity": 0.5, "labelLimit": 460},
        "legend": {**labels, "labelLimit": 460, "symbolStrokeColor": INK},
        "header": {**labels, "labelFontSize": 12},
        "title": {"color": INK, "fontSize": 12, "anchor": "start"},
        "rule": {"color": INK},
        "text": {"color": INK},
    }
