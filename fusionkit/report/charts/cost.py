"""Quality against cost: macro-F1 over parameters, GFLOP and seconds, and the rows that none beats at less cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionkit.grid.results import Row, RunResults
from fusionkit.report.charts.figure import PALETTE, Figure, said
from fusionkit.report.charts.view_values import csv_records
from fusionkit.report.numbers import amount, share, share_with_interval
from fusionkit.report.row_names import RowNames

if TYPE_CHECKING:
    import altair as alt

    from fusionkit.report.charts.figure import AnyChart

_SCALED = "datum.value < 1000 ? format(datum.value, '~g') : format(datum.value, '~s')"  # 0.4 and 20k, never 400m


@dataclass(frozen=True)
class Priced:
    """A row's score and what it costs."""

    name: str
    score: float
    cost: float
    says: str = ""


def cost_figures(results: RunResults) -> Iterator[Figure]:
    """One figure a kind of cost in which rows differ."""
    scored = [row for row in results.rows if row.score]
    called = RowNames(row.axes for row in results.rows)
    seconds = _fit_seconds(results)
    kinds: dict[str, tuple[str, Mapping[str, float | None]]] = {
        "params": ("parameters, backbones included", {row.id: row.means.get("params") for row in scored}),
        "flop": ("FLOP a frame, backbones included", {row.id: 1e9 * row.means.get("gflops", 0) for row in scored}),
        "fit-seconds": ("seconds to train the heads of a seed", seconds),
    }
    for kind, (title, costs) in kinds.items():
        priced = [
            _priced(called(row.axes), row, float(costs[row.id] or 0), title) for row in scored if costs.get(row.id)
        ]
        if len({each.cost for each in priced}) > 1:
            yield _figure(f"cost-{kind}", title, priced)


def _priced(name: str, row: Row, cost: float, title: str) -> Priced:
    assert row.score is not None
    says = said(name, share_with_interval(row.score), f"{amount(cost)} {title.partition(',')[0]}", row=row.id)
    return Priced(name, row.score.value, cost, says)


def pareto(priced: Sequence[Priced]) -> list[Priced]:
    """The rows that no other row reaches at less cost, nor beats at the same: by rising cost."""
    front: list[Priced] = []
    for each in sorted(priced, key=lambda one: (one.cost, -one.score)):
        if not front or each.score > front[-1].score:
            front.append(each)
    return front


def _fit_seconds(results: RunResults) -> dict[str, float]:
    """By row: mean over seeds of what its heads took, as ``costs.csv`` says."""
    spent = {
        r["cell"]: float(r["fit_seconds"]) for r in csv_records(results.folder.path / "costs.csv") if r["fit_seconds"]
    }
    found = {}
    for record in results.grid["rows"]:
        cells = [cell for cell in record["cells"] if cell["id"] in spent]
        seeds = {cell["seed"] for cell in cells}
        if seeds:
            found[record["id"]] = sum(spent[cell["id"]] for cell in cells) / len(seeds)
    return found


def _figure(name: str, title: str, priced: list[Priced]) -> Figure:
    front = pareto(priced)
    return Figure(
        name,
        f"Macro-F1 by {title.partition(',')[0]}",
        "Squares on the line: no row scores as high for less. The line is of scores as they are; whether they differ "
        "is for the paired tests to say.",
        f"{len(front)} of {len(priced)} rows are on the line, from {front[0].name} ({share(front[0].score)}) to "
        f"{front[-1].name} ({share(front[-1].score)}).",
        _chart(title, priced, front),
        ("on the line", "macro-F1", title),
        [(each.name, share(each.score), amount(each.cost)) for each in front],
    )


def _chart(title: str, priced: list[Priced], front: list[Priced]) -> AnyChart:
    import altair as alt

    def layer(rows: list[Priced]) -> alt.Chart:
        values = [{"cost": each.cost, "score": each.score, "says": each.says} for each in rows]
        return alt.Chart(alt.InlineData(values=values)).encode(
            x=alt.X("cost:Q", title=f"{title} (log scale)", scale=alt.Scale(type="log", nice=False, padding=12)).axis(
                labelExpr=_SCALED, labelOverlap="greedy", labelSeparation=8, grid=False
            ),
            y=alt.Y("score:Q", title="macro-F1", scale=alt.Scale(zero=False)),
            description="says:N",
        )

    inside = [each for each in priced if each not in front]
    return alt.layer(
        layer(front).mark_line(aria=False, interpolate="step-after", color=PALETTE[1], strokeWidth=1.5),
        layer(inside).mark_point(color=PALETTE[0], size=40, opacity=0.8),
        layer(front).mark_point(color=PALETTE[1], filled=True, shape="square", size=80, opacity=1),
    ).properties(width=330, height=220)
