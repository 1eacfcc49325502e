"""Smooth: logits to probabilities, clip by clip. Frames without any view are imputed afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.contracts.inputs import errors_of, read_only
from fusionkit.contracts.smoother import Smoother
from fusionkit.engine.features import FrameFeatures
from fusionkit.errors import PluginError

REVISION = 1  # raise when the same logits give other probabilities than before


class ConcatenatedViews:
    """The views of n frames, concatenated: (n, sum of D_v) float64. Indexing reads the rows asked for and no others."""

    def __init__(self, features: FrameFeatures) -> None:
        self.features = features

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        views = self.features.take(rows).views.values()
        return np.concatenate([view.reshape(len(view), -1) for view in views], axis=1).astype(np.float64)

    @property
    def width(self) -> int:
        """Sum of D_v."""
        return sum(math.prod(shape[1:]) for shape in self.features.shapes.values())


Input = np.ndarray | ConcatenatedViews


def smooth(
    smoother: Smoother, table: FrameTable, seen: np.ndarray, x: Input, prior: np.ndarray, imputation: str = "nearest"
) -> np.ndarray:
    """Compute the probabilities of every frame.

    A frame without any view is a gap in time: the smoother does not get it. It is imputed from the results of its clip,
    or with the prior if the clip has none.

    Args:
        smoother: applied to each clip separately.
        table: (n,) the frames.
        seen: (n,) bool: frames with at least one view.
        x: (n, C) the input that the smoother needs; rows that are not seen are ignored.
        prior: (C,) class shares of the training frames.
        imputation: method for frames without a view, see :func:`impute`.

    Returns:
        (n, C) float64, rows sum to one.

    Raises:
        PluginError: if the smoother breaks its contract.
    """
    out = np.tile(prior.astype(np.float64), (len(table), 1))
    for clip in clips(table):
        there = np.flatnonzero(seen[clip]) + clip.start
        if not len(there):
            continue
        probs = smoother(x[there], table.number[there])
        # The base class cannot check this: a smoother of embeddings knows C only from its labels.
        if probs.shape != (len(there), len(prior)):
            name = type(smoother).__name__
            raise PluginError(f"smoother {name} gave {probs.shape}; expected {(len(there), len(prior))}")
        out[there] = probs
        absent = np.flatnonzero(~seen[clip]) + clip.start
        if len(absent):  # seldom: most clips have every frame, and there may be as many clips as frames
            out[absent] = impute(imputation, probs, table.number[there], table.number[absent], prior)
    return out


def fit_smoother(
    smoother: Smoother, table: FrameTable, seen: np.ndarray, x: Input, labels: np.ndarray, seed: int
) -> None:
    """Fit a learned smoother on the dev clips.

    Raises:
        PluginError: if it fails.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    truth: list[np.ndarray] = []
    for clip in clips(table):
        there = np.flatnonzero(seen[clip]) + clip.start
        if len(there):
            found.append((read_only(x[there]), read_only(table.number[there])))
            truth.append(read_only(labels[there]))
    with errors_of(f"smoother {type(smoother).__name__}"):
        smoother.fit(found, truth, seed)


def smoother_input(smoother: Smoother, logits: np.ndarray, embeddings: FrameFeatures | None) -> Input:
    """Return the input that the smoother needs, float64: (n, C) probabilities or logits, or (n, D) embeddings."""
    if smoother.needs == "embeddings":
        assert embeddings is not None
        return ConcatenatedViews(embeddings)
    return logits.astype(np.float64) if smoother.needs == "logits" else softmax(logits)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities (n, C) float64 of logits (n, C)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    weights = np.exp(shifted)
    probs: np.ndarray = weights / weights.sum(1, keepdims=True)
    return probs


def clips(table: FrameTable) -> Iterator[slice]:
    """Yield the rows of each clip."""
    edges = clip_edges(table)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield slice(start, stop)


def clip_edges(table: FrameTable) -> np.ndarray:
    """Return the first row of each clip, and the number of rows: (clips + 1,) int64."""
    return np.flatnonzero(np.r_[True, table.clip[1:] != table.clip[:-1], True])


def impute(method: str, probs: np.ndarray, have: np.ndarray, want: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the probabilities of some frames of a clip, from those of the frames that have a view.

    Args:
        method: ``nearest``: those of the nearest frame with a result, of two the earlier; ``linear``: interpolated
            between the frame before and the one after, constant at the ends; ``prior``: the class shares of the
            training frames.
        probs: (T, C) results of the frames that have a view. If T is 0, the prior is returned.
        have: (T,) their numbers, ascending.
        want: (k,) numbers of the frames to return; one that is in ``have`` gets its own result.
        prior: (C,) class shares of the training frames.

    Returns:
        (k, C) float64, rows sum to one.

    Reference:
        ``linear`` as in the ABAW notebooks of HSEmotion (https://github.com/av-savchenko/face-emotion-recognition).
    """
    out = np.tile(prior.astype(np.float64), (len(want), 1))
    if not len(have):
        return out
    index = np.searchsorted(have, want).clip(0, len(have) - 1)
    own = have[index] == want
    out[own] = probs[index[own]]
    if method in _BETWEEN and not own.all():
        out[~own] = _BETWEEN[method](probs, have, want[~own])
    return out


def _nearest(probs: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    after = np.searchsorted(have, want).clip(0, len(have) - 1)
    before = (after - 1).clip(0)
    earlier = np.abs(want - have[before]) <= np.abs(have[after] - want)
    found: np.ndarray = probs[np.where(earlier, before, after)]
    return found


def _linear(probs: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(want, have, column) for column in probs.T], axis=1)


_BETWEEN: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "nearest": _nearest,
    "linear": _linear,
}
