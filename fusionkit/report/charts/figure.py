"""Figures: a Vega-Lite chart with a caption, its result in words, and its numbers as a table for screen readers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from fusionkit.errors import printable
from fusionkit.report.numbers import share
from fusionkit.report.wrapping import wrapped

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
# A figure fits a phone of 390 px without being scaled down.
WIDTH, HEIGHT = 300, 220  # px
_TILE_HEIGHT, _TILE_WIDTH = 22, 36  # px
_STEP, _OFFSET, _LINE, _GAP, _SPARE = 18, 5, 13, 6, 24  # px
_BESIDE, _ABOVE = 18, 48  # characters of a name beside its marks, and of a line of a name above them


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
        switch: position of the switch at which this figure is shown; consecutive figures with one are shown in one
            place. Empty for a figure that is always shown.
    """

    name: str
    title: str
    caption: str
    words: str
    chart: AnyChart
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    switch: str = ""

    def specification(self) -> dict[str, Any]:
        """Return the chart in Vega-Lite, on a transparent background, in the colour of the surrounding text."""
        spec: dict[str, Any] = _printable({**self.chart.to_dict(validate=False), "config": _config()})
        return spec


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
    rows = list(dict.fromkeys(tile.row for tile in tiles))
    columns = list(dict.fromkeys(tile.column for tile in tiles))
    above = _names_above(rows, _TILE_HEIGHT) if max(map(len, rows)) > _BESIDE else None
    values = [
        {
            **asdict(tile),
            "text": share(tile.value),
            "light": (tile.value - low) / (high - low) > _WHITE_TEXT_BELOW,
            **({"top": above.top[tile.row], "bottom": above.top[tile.row] + _TILE_HEIGHT} if above else {}),
        }
        for tile in known
    ]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("column:N", sort=columns, title=column_title, scale=alt.Scale(domain=columns)).axis(
            orient="top", labelAngle=-40, labelBound=False, labelOverlap=False, grid=False
        ),
        description="tooltip:N",
    )
    colour = alt.Color("value:Q", legend=None, scale=alt.Scale(scheme=_SCHEME, domain=[low, high]))
    ink = alt.condition("datum.light", alt.value("#000000"), alt.value("#ffffff"))
    shaded, text = base.mark_rect().encode(color=colour), base.mark_text(fontSize=11).encode(text="text:N", color=ink)
    if above is None:
        # A title beside the names would collide with the longest.
        axis = alt.Axis(grid=False, titleAngle=0, titleAlign="right", titleX=-8, titleY=-8, titleBaseline="bottom")
        vertical = alt.Y("row:N", sort=rows, title=row_title, scale=alt.Scale(domain=rows), axis=axis)
        layers: list[Any] = [shaded.encode(y=vertical), text.encode(y=vertical)]
        return alt.layer(*layers).properties(width=alt.Step(_TILE_WIDTH), height=alt.Step(_TILE_HEIGHT))
    base.encoding.x.axis.domain = False  # it would strike through the first name
    middle = text.transform_calculate(middle="(datum.top + datum.bottom) / 2").encode(y=above.axis("middle"))
    layers = [shaded.encode(y=above.axis("top"), y2="bottom"), middle, above.texts()]
    return alt.layer(*layers).properties(width=alt.Step(_TILE_WIDTH), height=above.height)


def heat_map_width(columns: Sequence[str]) -> float:
    """Return the approximate width in px of a heat map with these columns, without the names of its rows."""
    return _TILE_WIDTH * len(columns) + 4.5 * max(map(len, columns))


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
            x=alt.X("at:Q", title=x, scale=alt.Scale(zero=False, nice=False, padding=14)).axis(labelSeparation=6),
            color=_colour(series, legend),
            description="tooltip:N",
        )
        line = base.mark_line(strokeWidth=2, aria=False, xOffset=offset).encode(
            y=vertical, strokeDash=alt.StrokeDash("series:N", sort=series, scale=dashes, title=legend)
        )
        bars = base.mark_rule(xOffset=offset, x2Offset=offset).encode(y=alt.Y("low:Q", title=y), y2="high:Q")
        points = base.mark_point(filled=True, size=60, opacity=1, xOffset=offset)
        layers += [line, bars, points.encode(y=vertical, shape=_shape(series, legend))]
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def interval_plot(marks: Sequence[Mark], x: str, y: str, legend: str, *, zero: bool) -> AnyChart:
    """Return points with intervals, below each other; a long name is above its points.

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
    above = _names_above(names, _LINE * len(series)) if max(map(len, names)) > _BESIDE else None
    scale = alt.Scale(zero=zero)
    base = alt.Chart(alt.InlineData(values=values)).encode(
        color=_colour(series, legend) if several else alt.value(PALETTE[0]), description="tooltip:N"
    )
    if above:
        for value in values:
            value["y"] = above.top[str(value["at"])] + _LINE * (series.index(value["series"]) + 0.5)
        base = base.encode(y=above.axis("y"))
    else:
        base = base.encode(y=alt.Y("at:N", sort=names, title=y, axis=alt.Axis(grid=several)))
        if several:
            base = base.encode(yOffset=alt.YOffset("series:N", sort=series))
    bars = base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q", title=x, scale=scale), x2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=alt.X("value:Q", title=x, scale=scale).axis(labelSeparation=6),
        shape=_shape(series, legend) if several else alt.value("circle"),
    )
    layers: list[Any] = [bars, points]
    if zero:
        origin = alt.Chart(alt.InlineData(values=[{"zero": 0}]))
        layers.insert(0, origin.mark_rule(strokeDash=[3, 3], aria=False).encode(x="zero:Q"))
    if above:
        return alt.layer(*layers, above.texts()).properties(width=WIDTH + _SPARE, height=above.height)
    height: Any = len(names) * (len(series) * _LINE + 8) if several else alt.Step(_STEP)
    return alt.layer(*layers).properties(width=WIDTH, height=height)


@dataclass(frozen=True)
class _NamesAbove:
    """Names in lines above their marks.

    Attributes:
        top: by name, where its marks begin, in px from the top.
        lines: texts with the middle of each in px from the top.
        height: height of all in px.
    """

    top: dict[str, float]
    lines: list[dict[str, Any]]
    height: float

    def axis(self, field: str) -> alt.Y:
        """Return the vertical position of a field that is in px from the top."""
        import altair as alt

        scale = alt.Scale(domain=[self.height, 0], nice=False, zero=False)
        return alt.Y(f"{field}:Q", scale=scale, axis=None)

    def texts(self) -> alt.Chart:
        """Return the layer of the names."""
        import altair as alt

        chart = alt.Chart(alt.InlineData(values=self.lines))
        text = chart.mark_text(align="left", baseline="middle", fontSize=11, color=INK, aria=False)
        named: alt.Chart = text.encode(x=alt.value(0), y=self.axis("y"), text="text:N")
        return named


def _names_above(names: Sequence[str], height: int) -> _NamesAbove:
    """Return the names above marks of this height in px."""
    top, lines, y = {}, [], float(_GAP)
    for name in names:
        for line in wrapped(name, _ABOVE).split("\n"):
            lines.append({"text": line, "y": y + _LINE / 2})
            y += _LINE
        top[name] = y
        y += height + _GAP
    return _NamesAbove(top, lines, y)


def _values(marks: Sequence[Mark]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the values of the chart, NaN bounds replaced by the value, and the series in order, in lines."""
    values = []
    for mark in marks:
        bounds = {"low": mark.value, "high": mark.value} if math.isnan(mark.low) else {}
        values.append({**asdict(mark), **bounds, "series": wrapped(mark.series, _ABOVE)})
    return values, list(dict.fromkeys(str(value["series"]) for value in values))


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
    lines = r"split(datum.label, '\n')"
    return alt.Legend(orient="bottom", direction="vertical", symbolSize=80, symbolOpacity=1, labelExpr=lines)


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
        "axis": {
            **labels,
            **lines,
            "gridOpacity": 0.15,
            "domainOpacity": 0.5,
            "tickOpacity": 0.5,
            "labelLimit": 460,
            "labelFlush": False,  # moved inwards, the last label would touch the one before
        },
        "legend": {**labels, "labelLimit": 460, "symbolStrokeColor": INK},
        "header": {**labels, "labelFontSize": 12},
        "title": {"color": INK, "fontSize": 12, "anchor": "start"},
        "rule": {"color": INK},
        "text": {"color": INK},
    }
