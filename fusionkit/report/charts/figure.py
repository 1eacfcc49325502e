"""A figure: a Vega-Lite chart, what it says in words, and its numbers as a table for those who cannot see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import altair as alt

    AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart

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
