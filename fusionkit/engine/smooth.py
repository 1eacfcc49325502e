"""Smooth: stored logits to probabilities, clip by clip; frames without any view take their nearest neighbour's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.contracts.smoother import Smoother
from fusionkit.errors import PluginError

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


def smoother_input(smoother: Smoother, logits: np.ndarray, embeddings: np.ndarray | None) -> np.ndarray:
    """What the smoother asked for: (n, C) probabilities or logits, or (n, D) embeddings, as float64."""
    if smoother.needs == "embeddings":
        assert embeddings is not None
        return embeddings.astype(np.float64)
    return logits.astype(np.float64) if smoother.needs == "logits" else softmax(logits)


def smooth(smoother: Smoother, table: FrameTable, seen: np.ndarray, x: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Probabilities of every frame.

    A frame without any view takes no part in smoothing: it is a gap in time. Afterwards it is imputed with the
    result of the nearest frame of its clip (of two, the earlier), and, in a clip without any, with the prior.

    Args:
        smoother: applied to each clip by itself.
        table: (n,) the frames.
        seen: (n,) bool: at least one view is there.
        x: (n, C) what the smoother needs; rows that are not seen are ignored.
        prior: (C,) class shares of the training frames.

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
        if len(absent):
            out[absent] = out[there[_nearest(table.number[there], table.number[absent])]]
    return out


def fit_smoother(
    smoother: Smoother, table: FrameTable, seen: np.ndarray, x: np.ndarray, labels: np.ndarray, seed: int
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


def _nearest(have: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Index into ``have`` (rising) of the number nearest to each of ``want``; of two equally near the earlier."""
    after = np.searchsorted(have, want).clip(0, len(have) - 1)
    before = (after - 1).clip(0)
    chosen: np.ndarray = np.where(np.abs(want - have[before]) <= np.abs(have[after] - want), before, after)
    return chosen
