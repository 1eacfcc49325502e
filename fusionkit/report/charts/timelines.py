"""Figures of test clips over time: annotation, raw and smoothed prediction of each frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.contracts.dataset import UNLABELLED
from fusionkit.contracts.smoother import Smoother
from fusionkit.engine.fold import FoldData
from fusionkit.engine.score import truth_of
from fusionkit.engine.smooth import clips, smooth, smoother_input, softmax
from fusionkit.errors import DataError, FusionKitError
from fusionkit.grid.folder import StoredCell
from fusionkit.grid.results import Row, RunResults
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.spec import Spec
from fusionkit.report.charts.figure import INK, PALETTE, Figure, tooltip
from fusionkit.report.run_data import RunData

if TYPE_CHECKING:
    import altair as alt

    from fusionkit.report.charts.figure import AnyChart

_CLIPS, _MAX_FRAMES, _MIN_FRAMES = 3, 300, 8


@dataclass(frozen=True, eq=False)
class Timeline:
    """One clip: frame numbers (T,), annotation with -1 for none (T,), raw and smoothed prediction (T,) as classes."""

    clip: str
    number: np.ndarray
    truth: np.ndarray
    raw: np.ndarray
    smoothed: np.ndarray


def timeline_figures(results: RunResults, data: RunData) -> Iterator[Figure]:
    """Yield clips of the best smoothed row, otherwise of the best row, for each opened data set.

    Raises:
        DataError: if the data have changed since the run.
        FusionKitError: if the smoother fails.
    """
    scored = [row for row in results.rows if row.score]
    for number, (dataset, folds) in enumerate(data.folds.items(), 1):
        rows = [row for row in scored if row.axes.dataset == dataset]
        rows.sort(key=lambda row: (row.chosen != "none", row.score.value if row.score else 0.0), reverse=True)
        if rows:
            yield from _figures(f"timeline-{number}", results, rows[0], folds)


def _figures(name: str, results: RunResults, row: Row, folds: Mapping[str, FoldData]) -> Iterator[Figure]:
    (seed, fold), cell = next(iter(results.stored[row.id].cells.items()))
    fold_data = folds.get(fold)
    if fold_data is None:
        return
    for index, line in enumerate(_selected(_timelines(results, cell, fold_data)), 1):
        known = line.truth != UNLABELLED
        correct = [
            float((values == line.truth)[known].mean()) if known.any() else float("nan")
            for values in (line.raw, line.smoothed)
        ]
        yield Figure(
            f"{name}-{index}",
            f"Clip {line.clip}",
            f"Wide pale band: annotation; dots: prediction of each frame; line: prediction smoothed by {row.chosen}. "
            f"{row.name}, seed {seed}.",
            f"Accuracy on annotated frames: {100 * correct[0]:.0f} % without, {100 * correct[1]:.0f} % with smoothing.",
            timeline_chart(line, fold_data.source.classes),
        )


def _timelines(results: RunResults, cell: StoredCell, fold_data: FoldData) -> Iterator[Timeline]:
    logits = results.folder.read_logits(cell.info["head"])
    record = logits.info["record"]
    if (record["data"]["fingerprint"], record["fold"]["digest"]) != (
        fold_data.source.fingerprint,
        fold_data.fold.digest,
    ):
        raise DataError(f"{fold_data.source.spec}: the data have changed since the run")
    smoother = _smoother(cell)
    seen = ~np.isnan(logits.test[:, 0])
    table = fold_data.test_table
    impute = cell.info["impute"]
    raw = smooth(SMOOTHERS.build(Spec("none")), table, seen, softmax(logits.test), fold_data.prior, impute)
    smoothed = smooth(smoother, table, seen, smoother_input(smoother, logits.test, None), fold_data.prior, impute)
    truth = truth_of(fold_data.sealed)
    for clip in clips(table):
        yield Timeline(
            str(table.clip[clip.start]), table.number[clip], truth[clip], raw[clip].argmax(1), smoothed[clip].argmax(1)
        )


def _smoother(cell: StoredCell) -> Smoother:
    smoother: Smoother = SMOOTHERS.build(Spec.parse(cell.info["smoother"]))
    if smoother.needs == "embeddings":
        raise FusionKitError("the smoother needs embeddings, which are not in the run folder")
    if smoother.fitted:
        if cell.smoother is None:
            raise FusionKitError("the fitted parameters of the smoother are not stored")
        smoother.restore(cell.smoother)
    return smoother


def _selected(lines: Iterator[Timeline]) -> list[Timeline]:
    """Return the clips with the most changes of annotation in their first frames, without very short clips."""
    cut = [
        Timeline(line.clip, *(values[:_MAX_FRAMES] for values in (line.number, line.truth, line.raw, line.smoothed)))
        for line in lines
    ]
    long = [line for line in cut if len(line.number) >= _MIN_FRAMES]
    return sorted(long, key=lambda line: -int((np.diff(line.truth[line.truth != UNLABELLED]) != 0).sum()))[:_CLIPS]


def timeline_chart(line: Timeline, classes: tuple[str, ...]) -> AnyChart:
    """Return a chart of a clip: annotation as bands, predictions as dots, smoothed predictions as a line."""
    import altair as alt

    names = list(classes)
    vertical = alt.Y("class:N", sort=names, scale=alt.Scale(domain=names), title=None).axis(grid=True)
    scale = alt.Scale(nice=False, zero=False)
    centre, band = alt.X("frame:Q", title="frame", scale=scale), alt.X("from:Q", title="frame", scale=scale)

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
            "tooltip": tooltip(f"frame {frame}", f"truth: {truth}", f"predicted: {raw}", f"smoothed: {smoothed}"),
        }
        for frame, truth, raw, smoothed in frames
    ]
    hover = alt.Chart(alt.InlineData(values=tooltips)).mark_rect(opacity=0)
    return alt.layer(
        layer(line.truth).mark_rect(color=PALETTE[5], opacity=0.5, aria=False).encode(x=band, x2="to:Q"),
        layer(line.smoothed)
        .mark_line(interpolate="step", aria=False, color=PALETTE[1], strokeWidth=1.6)
        .encode(x=centre, order="frame:Q"),
        layer(line.raw).mark_point(color=INK, filled=True, size=18, opacity=1, aria=False).encode(x=centre),
        hover.encode(x=band, x2="to:Q", description="tooltip:N"),
    ).properties(width=500, height=alt.Step(20))
