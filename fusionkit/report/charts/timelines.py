"""Figures of test clips over time: annotation, raw and smoothed prediction of each frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.contracts.dataset import UNLABELLED
from fusionkit.contracts.task import Task
from fusionkit.engine.fold import FoldData
from fusionkit.engine.score import truth_of
from fusionkit.engine.smooth import TaskSmoother, clips, smooth, smoother_input
from fusionkit.errors import DataError, FusionKitError
from fusionkit.grid.folder import StoredCell
from fusionkit.grid.results import Row, RunResults
from fusionkit.registry.spec import Spec
from fusionkit.report.charts.figure import INK, PALETTE, Figure, tooltip
from fusionkit.report.run_data import RunData

if TYPE_CHECKING:
    import altair as alt

    from fusionkit.report.charts.figure import AnyChart

_MAX_FRAMES, _MIN_FRAMES = 300, 8
_MIN_WIDTH, _MAX_WIDTH, _FRAME = 280, 500, 1.7  # px


@dataclass(frozen=True, eq=False)
class Timeline:
    """One clip: frame numbers (T,), annotation with -1 for none (T,), raw and smoothed prediction (T,) as classes."""

    clip: str
    number: np.ndarray
    truth: np.ndarray
    raw: np.ndarray
    smoothed: np.ndarray

    @property
    def accuracy(self) -> tuple[float, float]:
        """Share of the annotated frames that are correct, without and with smoothing; NaN if none is annotated."""
        known = self.truth != UNLABELLED
        if not known.any():
            return float("nan"), float("nan")
        return float((self.raw == self.truth)[known].mean()), float((self.smoothed == self.truth)[known].mean())

    @property
    def gain(self) -> float:
        """Accuracy with smoothing minus accuracy without."""
        raw, smoothed = self.accuracy
        return smoothed - raw


@dataclass(frozen=True, eq=False)
class Choice:
    """A clip with the reason why it is shown."""

    line: Timeline
    reason: str


def timeline_figures(results: RunResults, data: RunData) -> Iterator[Figure]:
    """Yield clips of the best smoothed row, otherwise of the best row, for each opened data set.

    Raises:
        DataError: if the data have changed since the run.
        FusionKitError: if the smoother fails.
    """
    scored = [row for row in results.rows if row.score]
    for number, (dataset, folds) in enumerate(data.folds.items(), 1):
        exclusive = {str(each.spec) for fold in folds.values() for each in fold.tasks if each.task.exclusive}
        rows = [row for row in scored if row.axes.dataset == dataset and row.axes.task in exclusive]
        rows.sort(key=lambda row: (row.chosen != "none", row.score.value if row.score else 0.0), reverse=True)
        if rows:
            yield from _figures(f"timeline-{number}", results, rows[0], folds)


def _figures(name: str, results: RunResults, row: Row, folds: Mapping[str, FoldData]) -> Iterator[Figure]:
    (seed, fold), cell = next(iter(results.stored[row.id].cells.items()))
    if fold not in folds:
        return
    fold_data = folds[fold].of(Spec.parse(row.axes.task))
    lines = list(_timelines(results, cell, fold_data))
    for index, choice in enumerate(chosen_clips(lines, smoothed=row.chosen != "none"), 1):
        raw, smoothed = choice.line.accuracy
        line = f"; line: prediction smoothed by {row.chosen}" if row.chosen != "none" else ""
        yield Figure(
            f"{name}-{index}",
            f"Clip {choice.line.clip}",
            f"{choice.reason} Wide pale band: annotation; dots: prediction of each frame{line}. {row.name}, "
            f"seed {seed}.",
            f"Accuracy on annotated frames: {100 * raw:.0f} %"
            + (f" without, {100 * smoothed:.0f} % with smoothing." if line else "."),
            timeline_chart(choice.line, fold_data.task.names, smoothed=bool(line)),
        )


def _timelines(results: RunResults, cell: StoredCell, fold_data: FoldData) -> Iterator[Timeline]:
    logits = results.folder.read_logits(cell.info["head"]).of_task(cell.info["member"])
    record = logits.info["record"]
    if (record["data"]["fingerprint"], record["fold"]["digest"]) != (
        fold_data.source.fingerprint,
        fold_data.fold.digest,
    ):
        raise DataError(f"{fold_data.source.spec}: the data have changed since the run")
    task = fold_data.task
    smoother, unsmoothed = _smoother(task, cell), TaskSmoother.of(task, Spec("none"))
    seen = ~np.isnan(logits.test[:, 0])
    table = fold_data.test_table
    impute = cell.info["impute"]
    raw = smooth(unsmoothed, table, seen, unsmoothed.input(logits.test), fold_data.prior, impute)
    smoothed = smooth(smoother, table, seen, smoother_input(smoother, logits.test, None), fold_data.prior, impute)
    truth = task.hard_labels(truth_of(fold_data.sealed))
    for clip in clips(table):
        yield Timeline(
            str(table.clip[clip.start]), table.number[clip], truth[clip], raw[clip].argmax(1), smoothed[clip].argmax(1)
        )


def _smoother(task: Task, cell: StoredCell) -> TaskSmoother:
    smoother = TaskSmoother.of(task, Spec.parse(cell.info["smoother"]))
    if smoother.reads_embeddings:
        raise FusionKitError("the smoother needs embeddings, which are not in the run folder")
    if smoother.fitted:
        if cell.smoother is None:
            raise FusionKitError("the fitted parameters of the smoother are not stored")
        smoother.restore(cell.smoother)
    return smoother


def chosen_clips(lines: Iterable[Timeline], *, smoothed: bool) -> list[Choice]:
    """Return the clip whose accuracy smoothing raises most, the one it lowers most, and the one of median change.

    Clips are compared by their first frames. Of clips with the same change, the one with the most changes of annotation
    is taken. Very short clips and clips without annotation are left out. If the row is not smoothed, clips are compared
    by their accuracy.

    Args:
        lines: clips of the test set.
        smoothed: whether the row is smoothed.
    """
    given = list(lines)
    starts = [
        Timeline(line.clip, *(values[:_MAX_FRAMES] for values in (line.number, line.truth, line.raw, line.smoothed)))
        for line in given
    ]
    usable = [line for line in starts if len(line.number) >= _MIN_FRAMES and (line.truth != UNLABELLED).any()]
    if not usable:
        return []
    value = {line: line.gain if smoothed else line.accuracy[0] for line in usable}
    middle = sorted(value.values())[(len(usable) - 1) // 2]
    best = max(usable, key=lambda line: (value[line], _changes(line)))
    worst = max(usable, key=lambda line: (-value[line], _changes(line)))
    median = max(usable, key=lambda line: (-abs(value[line] - middle), line not in (best, worst), _changes(line)))
    if smoothed:
        raised, lowered = sum(each > 0 for each in value.values()), sum(each < 0 for each in value.values())
        rule = f"Smoothing raises the accuracy of {raised} and lowers that of {lowered} of {len(usable)} clips; "
        reasons = {
            best: "it rises most in this one" if raised else "this one has the highest change",
            worst: "it falls most in this one" if lowered else "this one has the lowest change",
            median: "this one has the median change",
        }
    else:
        rule = f"Of {len(usable)} clips, this one has the "
        reasons = {best: "highest accuracy", worst: "lowest accuracy", median: "median accuracy"}
    cut = (
        f" Only the first {_MAX_FRAMES} frames of a clip count."
        if any(len(line.number) > _MAX_FRAMES for line in given)
        else ""
    )
    return [Choice(line, f"{rule}{reason}.{cut}") for line, reason in reasons.items()]


def _changes(line: Timeline) -> int:
    """Return the number of changes of annotation."""
    return int((np.diff(line.truth[line.truth != UNLABELLED]) != 0).sum())


def timeline_chart(line: Timeline, classes: tuple[str, ...], *, smoothed: bool = True) -> AnyChart:
    """Return a chart of a clip: annotation as bands, predictions as dots, smoothed predictions as a line.

    Args:
        line: the clip.
        classes: names of the classes.
        smoothed: whether the smoothed predictions are shown.
    """
    import altair as alt

    names = list(classes)
    vertical = alt.Y("class:N", sort=names, scale=alt.Scale(domain=names), title=None).axis(grid=True)
    scale = alt.Scale(nice=False, zero=False)
    centre, band = (
        alt.X(f"{name}:Q", title="frame", scale=scale).axis(labelSeparation=6, tickMinStep=1)
        for name in ("frame", "from")
    )

    def texts(labels: np.ndarray) -> list[str]:
        return [names[label] if label != UNLABELLED else "not annotated" for label in labels.tolist()]

    def layer(labels: np.ndarray) -> alt.Chart:
        values = [
            {"frame": frame, "from": frame - 0.5, "to": frame + 0.5, "class": names[label]}
            for frame, label in zip(line.number.tolist(), labels.tolist(), strict=True)
            if label != UNLABELLED
        ]
        return alt.Chart(alt.InlineData(values=values)).encode(y=vertical)

    frames = zip(line.number.tolist(), texts(line.truth), texts(line.raw), texts(line.smoothed), strict=True)
    tooltips = [
        {
            "from": frame - 0.5,
            "to": frame + 0.5,
            "tooltip": tooltip(
                *(f"frame {frame}", f"truth: {truth}", f"predicted: {raw}"),
                *([f"smoothed: {after}"] if smoothed else []),
            ),
        }
        for frame, truth, raw, after in frames
    ]
    hover = alt.Chart(alt.InlineData(values=tooltips)).mark_rect(opacity=0)
    shown = layer(line.smoothed).mark_line(interpolate="step", aria=False, color=PALETTE[1], strokeWidth=1.6)
    width = min(max(_FRAME * len(line.number), _MIN_WIDTH), _MAX_WIDTH)
    return alt.layer(
        layer(line.truth).mark_rect(color=PALETTE[5], opacity=0.5, aria=False).encode(x=band, x2="to:Q"),
        *([shown.encode(x=centre, order="frame:Q")] if smoothed else []),
        layer(line.raw).mark_point(color=INK, filled=True, size=18, opacity=1, aria=False).encode(x=centre),
        hover.encode(x=band, x2="to:Q", description="tooltip:N"),
    ).properties(width=width, height=alt.Step(20))
