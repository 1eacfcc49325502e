"""Figures per part of a task: scores of the best rows, and confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fusionkit.grid.results import RunResults
from fusionkit.report.charts.figure import Figure, Tile, heat_map, tooltip
from fusionkit.report.frames import RowCounts, row_counts
from fusionkit.report.numbers import share
from fusionkit.report.row_names import RowNames, by_data, settings_in_common

_ROWS, _MATRICES = 10, 3


def class_figures(results: RunResults) -> Iterator[Figure]:
    """Yield, for each data set, scores by part of the best rows and the reference, and confusions of the best."""
    names = RowNames(results.rows)
    groups = by_data(row_counts(results))
    for number, group in enumerate(groups.values(), 1):
        suffix = f" on {names.data(group[0].axes)}" if len(groups) > 1 else ""
        best = sorted(group, key=lambda each: each.row.score.value if each.row.score else 0.0, reverse=True)
        shown = best[:_ROWS] + [each for each in best[_ROWS:] if each.row.is_reference][:1]
        common = settings_in_common([each.axes for each in shown], [each.axes for each in group])
        yield _scores(f"class-f1-{number}", suffix, shown, common)
        for index, each in enumerate(_best_smoothers(best)[:_MATRICES], 1):
            if found := each.confusion():
                yield _confusion(f"confusion-{number}-{index}", suffix, each, *found)


def _best_smoothers(group: Sequence[RowCounts]) -> list[RowCounts]:
    """Return the first of the rows that differ only in their smoother, which hardly changes the confusion."""
    found: dict[tuple[str, ...], RowCounts] = {}
    for each in group:
        axes = each.axes
        found.setdefault((axes.views, axes.fusion, axes.backbone, axes.extractor, axes.recipe), each)
    return list(found.values())


def _scores(name: str, suffix: str, shown: list[RowCounts], common: str) -> Figure:
    names = RowNames([each.row for each in shown])
    task = shown[0].task
    found = [_per_part(each).mean(axis=0) for each in shown]
    labels = [names(each.axes, without="dataset") for each in shown]
    parts = task.names
    tiles = [
        Tile(label, class_name, value, tooltip(label, f"{task.score} of {class_name}: {share(value)}", row=each.row.id))
        for label, each, values in zip(labels, shown, found, strict=True)
        for class_name, value in zip(parts, values.tolist(), strict=True)
    ]
    top = found[0]
    known = [index for index in range(len(parts)) if not np.isnan(top[index])]
    best, worst = max(known, key=lambda index: top[index]), min(known, key=lambda index: top[index])
    return Figure(
        name,
        f"{task.score} by {task.part}{suffix}",
        f"Mean over seeds; rows by falling {task.metric_name}. Empty: {task.part} not in the test "
        f"{shown[0].axes.scored}.{common}",
        f"Best row: highest {task.score} for {parts[best]} ({share(top[best])}), lowest for {parts[worst]} "
        f"({share(top[worst])}).",
        heat_map(tiles, "", task.part, (task.least, 1.0)),
        ("row", *parts),
        [(label, *map(share, values.tolist())) for label, values in zip(labels, found, strict=True)],
    )


def _per_part(each: RowCounts) -> np.ndarray:
    """Return scores (S, K): NaN in all seeds for a part that no frame supports, even where some seed predicts it."""
    found = each.task.scores(each.counts)
    found[:, each.task.support(each.counts[0]) == 0] = np.nan
    return found


def _confusion(name: str, suffix: str, each: RowCounts, total: np.ndarray, shares: np.ndarray) -> Figure:
    classes = each.task.names
    tiles = [
        Tile(
            true,
            predicted,
            float(shares[i, j]),
            f"{true} predicted as {predicted}: {share(shares[i, j])}\n{total[i, j]:,.0f} {each.axes.scored}",
        )
        for i, true in enumerate(classes)
        for j, predicted in enumerate(classes)
    ]
    errors = np.where(np.eye(len(classes), dtype=bool) | np.isnan(shares), -1.0, shares)
    i, j = np.unravel_index(int(errors.argmax()), errors.shape)
    recall = float(np.nanmean(np.diagonal(shares)))
    return Figure(
        name,
        f"Confusion of {each.row.name}{suffix}",
        f"Share of the {each.axes.scored} of each class, mean over seeds: truth in rows, prediction in columns.",
        f"Mean recall: {share(recall)}; most frequent confusion: {share(float(errors[i, j]))} of {classes[i]} "
        f"predicted as {classes[j]}.",
        heat_map(tiles, "truth", "prediction", (0.0, 1.0)),
        ("truth", *(f"predicted {class_name}" for class_name in classes), each.axes.scored),
        [
            (class_name, *map(share, values.tolist()), f"{frames:,.0f}")
            for class_name, values, frames in zip(classes, shares, total.sum(-1), strict=True)
        ],
    )
