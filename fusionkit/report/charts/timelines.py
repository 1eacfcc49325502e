"""Some test clips of the best row over time: truth, prediction of each frame, and prediction as it was smoothed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from fusionkit.report.charts.figure import INK, PALETTE, Figure, said
from fusionkit.report.tested_data import TestedData

if TYPE_CHECKING:
    import altair as alt

    from fusionkit.report.charts.figure import AnyChart

_CLIPS, _FRAMES, _FEWEST = 3, 300, 8


@dataclass(frozen=True, eq=False)
class Timeline:
    """One clip: frame numbers (T,), truth with -1 where there is none, class of each frame raw and smoothed (T,)."""

    clip: str
    number: np.ndarray
    truth: np.ndarray
    raw: np.ndarray
    smoothed: np.ndarray


def timeline_figures(results: RunResults, data: TestedData) -> Iterator[Figure]:
    """Clips of the best row that is smoothed, else of the best, for each data set that is open.

    Raises:
        DataError: if the data are others than were tested on.
        FusionKitError: if the smoother fails.
    """
    scored = [row for row in results.rows if row.score]
    for number, (dataset, folds) in enumerate(data.folds.items(), 1):
        rows = [row for row in scored if row.axes.dataset == dataset]
        rows.sort(key=lambda row: (row.chosen != "none", row.score.value if row.score else 0.0), reverse=True)
        if rows:
            yield from _figures(f"timeline-{number}", results, rows[0], folds)


def _figures(name: str, results: RunResults, row: Row, folds: Any) -> Iterator[Figure]:
    entry = next(entry for entry in results.grid["rows"] if entry["id"] == row.id)
    (seed, fold), cell = next(iter(results.load(entry).cells.items()))
    fold_data: FoldData | None = folds.get(fold)
    if fold_data is None:
        return
    for place, line in enumerate(_chosen(_timelines(results, cell, fold_data)), 1):
        known = line.truth != UNLABELLED
        right = [
            float((values == line.truth)[known].mean()) if known.any() else float("nan")
            for values in (line.raw, line.smoothed)
        ]
        yield Figure(
            f"{name}-{place}",
            f"Clip {line.clip}",
            f"Broad pale band: truth; dots: prediction of each frame; line: smoothed by {row.chosen}. "
            f"{row.axes.name}, seed {seed}.",
            f"Of annotated frames {100 * right[0]:.0f} % are right as predicted, {100 * right[1]:.0f} % as smoothed.",
            timeline_chart(line, fold_data.source.classes),
        )


def _timelines(results: RunResults, cell: StoredCell, fold_data: FoldData) -> Iterator[Timeline]:
    logits = results.folder.read_logits(cell.info["head"])
    noted = logits.info["record"]
    if (noted["data"]["fingerprint"], noted["fold"]["digest"]) != (fold_data.source.fingerprint, fold_data.fold.digest):
        raise DataError(f"{fold_data.source.spec}: the data have changed since they were tested on")
    smoother = _smoother(cell)
    seen = ~np.isnan(logits.test[:, 0])
    table = fold_data.test_table
    how = cell.info.get("impute", "nearest")
    raw = smooth(SMOOTHERS.build(Spec("none")), table, seen, softmax(logits.test), fold_data.prior, how)
    smoothed = smooth(smoother, table, seen, smoother_input(smoother, logits.test, None), fold_data.prior, how)
    truth = truth_of(fold_data.sealed)
    for clip in clips(table):
        yield Timeline(
            str(table.clip[clip.start]), table.number[clip], truth[clip], raw[clip].argmax(1), smoothed[clip].argmax(1)
        )


def _smoother(cell: StoredCell) -> Smoother:
    smoother: Smoother = SMOOTHERS.build(Spec.parse(cell.info["smoother"]))
    if smoother.needs == "embeddings":
        raise FusionKitError("the smoother reads embeddings, which lie in the cache and not in the folder")
    if smoother.fitted:
        if cell.smoother is None:
            raise FusionKitError("nothing is stored of what the smoother has learned")
        smoother.restore(cell.smoother)
    return smoother


def _chosen(lines: Iterator[Timeline]) -> list[Timeline]:
    """The clips with the most changes of truth in their first frames, of those that are long enough to be looked at."""
    cut = [
        Timeline(line.clip, *(values[:_FRAMES] for values in (line.number, line.truth, line.raw, line.smoothed)))
        for line in lines
    ]
    long = [line for line in cut if len(line.number) >= _FEWEST]
    return sorted(long, key=lambda line: -int((np.diff(line.truth[line.truth != UNLABELLED]) != 0).sum()))[:_CLIPS]


def timeline_chart(line: Timeline, classes: tuple[str, ...]) -> AnyChart:
    """Truth as bands, predictions as dots, what was smoothed as a line; frame by frame."""
    import altair as alt

    names = list(classes)
    upright = alt.Y("class:N", sort=names, scale=alt.Scale(domain=names), title=None).axis(grid=True)
    scale = alt.Scale(nice=False, zero=False)
    over, band = alt.X("frame:Q", title="frame", scale=scale), alt.X("from:Q", title="frame", scale=scale)

    def told(labels: np.ndarray) -> list[str]:
        return [names[label] if label != UNLABELLED else "not annotated" for label in labels.tolist()]

    def layer(values: np.ndarray) -> alt.Chart:
        records = [
            {"frame": frame, "from": frame - 0.5, "to": frame + 0.5, "class": names[label]}
            for frame, label in zip(line.number.tolist(), values.tolist(), strict=True)
            if label != UNLABELLED
        ]
        return alt.Chart(alt.InlineData(values=records)).encode(y=upright)

    spoken = zip(line.number.tolist(), told(line.truth), told(line.raw), told(line.smoothed), strict=True)
    readings = [
        {
            "from": frame - 0.5,
            "to": frame + 0.5,
            "says": said(f"frame {frame}", f"truth: {truth}", f"predicted: {raw}", f"smoothed: {smoothed}"),
        }
        for frame, truth, raw, smoothed in spoken
    ]
    everywhere = alt.Chart(alt.InlineData(values=readings)).mark_rect(opacity=0)
    return alt.layer(
        layer(line.truth).mark_rect(color=PALETTE[5], opacity=0.5, aria=False).encode(x=band, x2="to:Q"),
        layer(line.smoothed)
        .mark_line(interpolate="step", aria=False, color=PALETTE[1], strokeWidth=1.6)
        .encode(x=over, order="frame:Q"),
        layer(line.raw).mark_point(color=INK, filled=True, size=18, opacity=1, aria=False).encode(x=over),
        everywhere.encode(x=band, x2="to:Q", description="says:N"),
    ).properties(width=500, height=alt.Step(20))
