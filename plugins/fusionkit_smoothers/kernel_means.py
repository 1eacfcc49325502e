"""Weighted means over time, by a weight that depends on distance alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fusionkit_smoothers.time_grid import grid_pieces


def kernel_means(
    x: np.ndarray, frame_numbers: np.ndarray, half: int, weigh: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Each frame's mean over the frames up to ``half`` frame numbers away, weighted by distance.

    A missing frame has no weight, and the weights of those that are there are made to sum to one: at the ends of a
    clip, and beside a gap, the mean is of what there is.

    Args:
        x: (T, C) not negative.
        frame_numbers: (T,) rising.
        half: from 0 up.
        weigh: distances (n,), from ``-half`` to ``half``, to weights (n,) that are not negative, above 0 at distance 0.

    Returns:
        (T, C) not negative.
    """
    means = np.empty(x.shape)
    for piece in grid_pieces(frame_numbers, half):
        weights = weigh(piece.distances)
        seen = x[piece.wide]
        total = piece.sums(np.ones(len(seen)), weights)
        for column in range(x.shape[1]):
            means[piece.rows, column] = piece.sums(seen[:, column], weights) / total
    return means
