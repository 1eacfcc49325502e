"""Series of values with their intervals: over numbers as lines, over names as points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fusionkit.report.charts.figure import DASHES, PALETTE, SHAPES

if TYPE_CHECKING:
    import altair as alt

    from fusionkit.report.charts.figure import AnyChart
    from fusionkit.stats import Estimate

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
