"""Figure of the metric by cost (parameters, FLOP or training time, by a switch), with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionkit.grid.results import Row, RunResults
from fusionkit.report.charts.figure import HEIGHT, PALETTE, WIDTH, Figure, tooltip
from fusionkit.report.charts.view_values import csv_lines
from fusionkit.report.numbers import amount, capital, share, share_with_interval
from fusionkit.report.row_names import RowNames

if TYPE_CHECKING:
    import altair as alt

    from fusionkit.report.charts.figure import AnyChart

_LABELS = "datum.value < 1000 ? format(datum.value, '~g') : format(datum.value, '~s')"  # 0.4 and 20k, never 400m
_TICKS = 6


@dataclass(frozen=True)
class RowCost:
    """Score and cost of a row."""

    name: str
    score: float
    cost: float
    tooltip: str = ""


def cost_figures(results: RunResults) -> Iterator[Figure]:
    """Yield a figure for each kind of cost in which rows differ; the page shows one of them, by a switch."""
    scored = [row for row in results.rows if row.score]
    name_of = RowNames(results.rows)
    kinds: dict[str, tuple[str, str, Mapping[str, float]]] = {
        "params": ("parameters", "parameters, backbones included", {row.id: row.means["params"] for row in scored}),
        "flop": (
            *("FLOP", "FLOP per frame, backbones included"),
            {row.id: 1e9 * row.means["gflops"] for row in scored},
        ),
        "fit-seconds": ("training time", "seconds to train the heads of a seed", _fit_seconds(results)),
    }
    for kind, (switch, title, costs) in kinds.items():
        rows = [_row_cost(name_of(row.axes), row, cost, title) for row in scored if (cost := costs.get(row.id))]
        if len({row.cost for row in rows}) > 1:
            yield _figure(f"cost-{kind}", switch, title, results.metric, rows)


def pareto(rows: Sequence[RowCost]) -> list[RowCost]:
    """Return the Pareto front by rising cost: rows without another that has at least their score for less."""
    front: list[RowCost] = []
    for each in sorted(rows, key=lambda row: (row.cost, -row.score)):
        if not front or each.score > front[-1].score:
            front.append(each)
    return front


def _row_cost(name: str, row: Row, cost: float, title: str) -> RowCost:
    assert row.score is not None
    text = tooltip(name, share_with_interval(row.score), f"{amount(cost)} {title.partition(',')[0]}", row=row.id)
    return RowCost(name, row.score.value, cost, text)


def _fit_seconds(results: RunResults) -> dict[str, float]:
    """Return by row the mean over seeds of the training time of its heads, from ``costs.csv``."""
    lines = csv_lines(results.folder.path / "costs.csv")
    seconds = {line["cell"]: float(line["fit_seconds"]) for line in lines if line["fit_seconds"]}
    found = {}
    for entry in results.grid["rows"]:
        cells = [cell for cell in entry["cells"] if cell["id"] in seconds]
        seeds = {cell["seed"] for cell in cells}
        if seeds:
            found[entry["id"]] = sum(seconds[cell["id"]] for cell in cells) / len(seeds)
    return found


def _front_in_words(rows: Sequence[RowCost], front: Sequence[RowCost]) -> str:
    first, last = (f"{row.name} ({share(row.score)})" for row in (front[0], front[-1]))
    if len(front) == 1:
        return f"1 of {len(rows)} rows is on the front: {first}."
    return f"{len(front)} of {len(rows)} rows are on the front, from {first} to {last}."


def _figure(name: str, switch: str, title: str, metric: str, rows: list[RowCost]) -> Figure:
    front = pareto(rows)
    return Figure(
        name,
        f"{capital(metric)} by {title.partition(',')[0]}",
        "Squares on the line: Pareto front; no row has a score as high at a lower cost. The front does not consider "
        "significance; whether two rows differ significantly is decided by the paired tests.",
        _front_in_words(rows, front),
        _chart(title, metric, rows, front),
        ("on the front", metric, title),
        [(row.name, share(row.score), amount(row.cost)) for row in front],
        switch=switch,
    )


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers in [low, high] that can be labelled on a logarithmic axis without collisions.

    The numbers of the series 1, 2, 5 in the range; of too many, the powers of ten or every second one; instead of fewer
    than three, multiples of a round step.
    """
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)]
    found = [digit * power for power in powers for digit in (1, 2, 5) if low <= digit * power <= high]
    tens = [power for power in powers if low <= power <= high]
    if len(found) > _TICKS and len(tens) > 2:
        found = tens
    while len(found) > _TICKS:
        found = found[::2]
    if len(found) > 2 or low == high:
        return found
    power = 10.0 ** math.floor(math.log10((high - low) / 2))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if (high - low) / step <= _TICKS - 1)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _chart(title: str, metric: str, rows: list[RowCost], front: list[RowCost]) -> AnyChart:
    import altair as alt

    costs = [row.cost for row in rows]

    def layer(rows: list[RowCost]) -> alt.Chart:
        values = [{"cost": row.cost, "score": row.score, "tooltip": row.tooltip} for row in rows]
        return alt.Chart(alt.InlineData(values=values)).encode(
            x=alt.X("cost:Q", title=f"{title} (log scale)", scale=alt.Scale(type="log", nice=False, padding=12)).axis(
                values=ticks(min(costs), max(costs)), labelExpr=_LABELS, labelSeparation=6, grid=False
            ),
            y=alt.Y("score:Q", title=metric, scale=alt.Scale(zero=False)),
            description="tooltip:N",
        )

    return alt.layer(
        layer(front).mark_line(aria=False, interpolate="step-after", color=PALETTE[1], strokeWidth=1.5),
        layer([row for row in rows if row not in front]).mark_point(color=PALETTE[0], size=40, opacity=0.8),
        layer(front).mark_point(color=PALETTE[1], filled=True, shape="square", size=80, opacity=1),
    ).properties(width=WIDTH, height=HEIGHT)
