"""Smoothers that can act on the clips of a data set, and warnings of those that cannot or that average too widely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fusionkit.config.keys import DEFAULT_SMOOTHERS
from fusionkit.contracts.dataset import FrameTable
from fusionkit.engine.features import clip_edges
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.spec import Spec
from fusionkit.registry.sweep import dev_candidates

NO_SMOOTHER = Spec("none")


def acting_smoothers(smoothers: Sequence[Spec], table: FrameTable) -> tuple[Spec, ...]:
    """Return the smoothers of a data set's rows, each once; ``none`` for those that change nothing there.

    Where every clip is one frame, as in a data set of stills, a smoother of probabilities or logits changes nothing.
    """
    stills = len(clip_edges(table.clip)) == len(table) + 1
    return tuple(dict.fromkeys(NO_SMOOTHER if stills and _smooths_predictions(each) else each for each in smoothers))


def smoother_warnings(smoothers: Sequence[Spec], table: FrameTable) -> Iterator[str]:
    """Yield a line on smoothers that change nothing here, and one on those that average more than most clips have.

    The default smoothers are left out without a line.

    Args:
        smoothers: as asked for.
        table: of the data set.
    """
    acting = acting_smoothers(smoothers, table)
    idle = [str(each) for each in smoothers if each not in acting]
    if idle and tuple(map(str, smoothers)) != DEFAULT_SMOOTHERS:
        yield f"every clip has one prediction, where {', '.join(idle)} would change nothing: only rows of none are made"
    length = median_length(table)
    spans = {spec: SMOOTHERS.build(dev_candidates(SMOOTHERS, spec)[0]).span for spec in acting}
    wide = [f"{spec} (about {span:,.0f})" for spec, span in spans.items() if span is not None and span > length]
    if wide and length > 1:
        yield (
            f"half of the clips have {length:,.0f} frames or fewer, and these smoothers average more: "
            f"{', '.join(wide)}; their predictions hardly change within a clip (use a smaller value, or auto)"
        )


def rate_problems(smoothers: Sequence[Spec], table: FrameTable, dataset: Spec) -> Iterator[str]:
    """Yield a line per smoother that needs the rate of every clip, where a clip of several frames has none."""
    edges = clip_edges(table.clip)
    unknown = np.isnan(table.rate[edges[:-1]]) & (np.diff(edges) > 1)
    if not unknown.any():
        return
    first = str(table.clip[edges[:-1][unknown][0]])
    for spec in smoothers:
        if any(SMOOTHERS.build(each).needs_rate for each in dev_candidates(SMOOTHERS, spec)):
            yield (
                f"{spec} needs frames per second, which data set {dataset} does not state for {unknown.sum():,} "
                f"clip(s), such as {first!r}"
            )


def median_length(table: FrameTable) -> float:
    """Return the median length of clips, in frame numbers from the first frame to the last."""
    edges = clip_edges(table.clip)
    return float(np.median(table.number[edges[1:] - 1] - table.number[edges[:-1]] + 1))


def _smooths_predictions(spec: Spec) -> bool:
    return bool(SMOOTHERS.get(spec.name).needs != "embeddings")
