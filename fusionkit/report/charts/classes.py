"""What the best rows make of each class: F1 by class, and confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fusionkit.contracts.task import SingleLabel
from fusionkit.grid.results import Row, RunResults
from fusionkit.report.charts.figure import Figure, Tile, said, tiles
from fusionkit.report.numbers import share
from fusionkit.report.row_names import RowNames
from fusionkit.stats.intervals import uar

_ROWS, _MATRICES = 10, 3


@dataclass(frozen=True, eq=False)
class Counted:
    """A row with its counts (S, C, C) of all units, rows truth, and the names of the classes."""

    row: Row
    counts: np.ndarray
    classes: list[str]


def class_figures(results: RunResults) -> Iterator[Figure]:
    """F1 by class of the best rows and the reference, and how the best few confuse the classes; each data set apart."""
    groups: dict[tuple[str, str], list[Counted]] = {}
    for counted in _counted(results):
        groups.setdefault((counted.row.axes.dataset, counted.row.axes.split), []).append(counted)
    called = RowNames(row.axes for row in results.rows)
    for number, group in enumerate(groups.values(), 1):
        where = f" on {called.data(group[0].row.axes)}" if len(groups) > 1 else ""
        best = sorted(group, key=_score, reverse=True)
        chosen = best[:_ROWS] + [each for each in best[_ROWS:] if each.row.is_reference][:1]
        yield _f1(f"class-f1-{number}", where, chosen, called)
        for place, each in enumerate(_unlike(best)[:_MATRICES], 1):
            yield _matrix(f"confusion-{number}-{place}", where, each)


def _counted(results: RunResults) -> Iterator[Counted]:
    rows = {row.id: row for row in results.rows if row.score}
    for record in results.grid["rows"]:
        if record["id"] in rows:
            loaded = results.load(record)
            names = list(next(iter(loaded.cells.values())).info["per_class_f1"])
            counts = np.stack([counts.sum(0) for counts in loaded.counts.values()])
            yield Counted(rows[record["id"]], counts, names)


def _score(counted: Counted) -> float:
    return counted.row.score.value if counted.row.score else 0.0


def _unlike(group: Sequence[Counted]) -> list[Counted]:
    """The best of those that differ in their smoother only: how they confuse classes differs little."""
    found: dict[tuple[str, ...], Counted] = {}
    for each in group:
        axes = each.row.axes
        found.setdefault((axes.views, axes.fusion, axes.backbone, axes.extractor, axes.recipe), each)
    return list(found.values())


def _f1(name: str, where: str, chosen: list[Counted], called: RowNames) -> Figure:
    f1 = [np.nanmean(_per_class(each), axis=0) for each in chosen]
    labels = [called(each.row.axes, without="dataset") for each in chosen]
    classes = chosen[0].classes
    found = [
        Tile(label, cls, value, said(label, f"F1 of {cls}: {share(value)}", row=each.row.id))
        for label, each, row in zip(labels, chosen, f1, strict=True)
        for cls, value in zip(classes, row.tolist(), strict=True)
    ]
    top = f1[0]
    known = [place for place in range(len(classes)) if not np.isnan(top[place])]
    best, worst = max(known, key=lambda place: top[place]), min(known, key=lambda place: top[place])
    return Figure(
        name,
        f"F1 by class{where}",
        "Mean over seeds; rows by falling macro-F1. Empty: the class is not in the test frames.",
        f"The best row is best at {classes[best]} ({share(top[best])}), worst at {classes[worst]} "
        f"({share(top[worst])}).",
        tiles(found, "", "class", (0.0, 1.0)),
        ("row", *classes),
        [(label, *map(share, row.tolist())) for label, row in zip(labels, f1, strict=True)],
    )


def _per_class(each: Counted) -> np.ndarray:
    """(S, C); a class that is not in the truth is NaN in all, and one that one seed alone names is 0 elsewhere."""
    task = SingleLabel(each.counts.shape[-1])
    f1: np.ndarray = task.per_class_f1(each.counts)
    f1[:, each.counts[0].sum(-1) == 0] = np.nan
    return f1


def _matrix(name: str, where: str, each: Counted) -> Figure:
    total = each.counts.mean(0)
    truth = total.sum(-1, keepdims=True)
    shares = np.divide(total, truth, out=np.full(total.shape, np.nan), where=truth > 0)
    classes = each.classes
    found = [
        Tile(
            one,
            other,
            float(shares[i, j]),
            f"{one} taken for {other}: {share(shares[i, j])}\n{total[i, j]:,.0f} frames",
        )
        for i, one in enumerate(classes)
        for j, other in enumerate(classes)
    ]
    off = np.where(np.eye(len(classes), dtype=bool) | np.isnan(shares), -1.0, shares)
    i, j = np.unravel_index(int(off.argmax()), off.shape)
    recall = float(uar(each.counts).mean())
    return Figure(
        name,
        f"Confusion of {each.row.axes.name}{where}",
        "Share of the frames of each class, mean over seeds: truth in rows, prediction in columns.",
        f"Mean recall is {share(recall)}; the most frequent confusion takes {share(float(off[i, j]))} of {classes[i]} "
        f"for {classes[j]}.",
        tiles(found, "truth", "prediction", (0.0, 1.0)),
        ("truth", *(f"predicted {cls}" for cls in classes), "frames"),
        [
            (cls, *map(share, row.tolist()), f"{frames:,.0f}")
            for cls, row, frames in zip(classes, shares, truth[:, 0], strict=True)
        ],
    )
