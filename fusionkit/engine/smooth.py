"""Smooth: stored logits to probabilities, clip by clip; frames without any view are imputed afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.contracts.smoother import Smoother
from fusionkit.engine.features import FrameFeatures
from fusionkit.errors import PluginError

Between = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def impute(how: str, probs: np.ndarray, have: np.ndarray, want: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Probabilities of some frames of a clip.

    Args:
        how: ``nearest``: of the nearest frame that has a result, of two the earlier; ``linear``: interpolated between
            the frame before and the one after, held at the ends; ``prior``: the class shares of the training frames.
        probs: (T, C) results of the frames that have a view; T may be 0, and everything is the prior then.
        have: (T,) their numbers, rising.
        want: (k,) numbers of the frames that are asked for; those among ``have`` get their own result.
        prior: (C,) class shares of the training frames.

    Returns:
        (k, C) float64, rows sum to one.

    Reference:
        ``linear`` as the notebooks of HSEmotion do it for ABAW (https://github.com/av-savchenko/face-emotion-recognition).
    """
    out = np.tile(prior.astype(np.float64), (len(want), 1))
    if not len(have):
        return out
    place = np.searchsorted(have, want).clip(0, len(have) - 1)
    own = have[place] == want
    out[own] = probs[place[own]]
    if how in _BETWEEN and not own.all():
        out[~own] = _BETWEEN[how](probs, have, want[~own])
    return out


def _nearest(probs: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    after = np.searchsorted(have, want).clip(0, len(have) - 1)
    before = (after - 1).clip(0)
    earlier = np.abs(want - have[before]) <= np.abs(have[after] - want)
    found: np.ndarray = probs[np.where(earlier, before, after)]
    return found


def _linear(probs: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(want, have, column) for column in probs.T], axis=1)


_BETWEEN: dict[str, Between] = {"nearest": _nearest, "linear": _linear}


REVISION = 1  # raise when the same logits give other probabilities than before


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, C) float64 of logits (n, C)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    weights = np.exp(shifted)
    probs: np.ndarray = weights / weights.sum(1, keepdims=True)
    return probs


def clips(table: FrameTable) -> Iterator[slice]:
    """The run of rows of each clip."""
    edges = np.flatnonzero(np.r_[True, table.clip[1:] != table.clip[:-1], True])
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield slice(start, stop)


class SideBySide:
    """All views of a frame side by side: (n, sum of D_v) float64, of which only the rows asked for are made.

    Args:
        part: the features of n frames.
    """

    def __init__(self, part: FrameFeatures) -> None:
        self.part = part

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        views = self.part.take(rows).views.values()
        return np.concatenate([view.reshape(len(view), -1) for view in views], axis=1).astype(np.float64)

    @property
    def width(self) -> int:
        """Numbers a frame."""
        return sum(math.prod(shape[1:]) for shape in self.part.shapes.values())


Input = np.ndarray | SideBySide


def smoother_input(smoother: Smoother, logits: np.ndarray, embeddings: FrameFeatures | None) -> Input:
    """What the smoother asked for: (n, C) probabilities or logits, or (n, D) embeddings, as float64."""
    if smoother.needs == "embeddings":
        assert embeddings is not None
        return SideBySide(embeddings)
    return logits.astype(np.float64) if smoother.needs == "logits" else softmax(logits)


def smooth(
    smoother: Smoother, table: FrameTable, seen: np.ndarray, x: Input, prior: np.ndarray, how: str = "nearest"
) -> np.ndarray:
    """Probabilities of every frame.

    A frame without any view takes no part in smoothing: it is a gap in time. Afterwards it is imputed from the results
    of its clip, and, in a clip without any, with the prior.

    Args:
        smoother: applied to each clip by itself.
        table: (n,) the frames.
        seen: (n,) bool: at least one view is there.
        x: (n, C) what the smoother needs; rows that are not seen are ignored.
        prior: (C,) class shares of the training frames.
        how: frames without a view are imputed, as :func:`impute` takes it.

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
        out[there] = _expected(smoother, smoother(x[there], table.number[there]), (len(there), len(prior)))
        absent = np.flatnonzero(~seen[clip]) + clip.start
        if len(absent):  # seldom: most clips have every frame, and there may be as many clips as frames
            out[absent] = impute(how, out[there], table.number[there], table.number[absent], prior)
    return out


def fit_smoother(
    smoother: Smoother, table: FrameTable, seen: np.ndarray, x: Input, labels: np.ndarray, seed: int
) -> None:
    """Fit a learned smoother on the dev clips."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    truth: list[np.ndarray] = []
    for clip in clips(table):
        there = np.flatnonzero(seen[clip]) + clip.start
        if len(there):
            found.append((x[there], table.number[there]))
            truth.append(labels[there])
    smoother.fit(found, truth, seed)


def _expected(smoother: Smoother, probs: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    # A smoother of embeddings knows C only from its labels, and its base cannot check it.
    if probs.shape != shape:
        raise PluginError(f"smoother {type(smoother).__name__} gave {probs.shape}; expected {shape}")
    return probs
