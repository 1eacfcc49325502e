"""The frames of a clip on an even grid in time, where a sum over a window is a convolution whatever the gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

_ROWS = 65536  # frames in a piece: bounds the memory that a grid of a clip with many gaps takes


def weighted_means(
    x: np.ndarray, frame_numbers: np.ndarray, half: int, weigh: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return each frame's mean over the frames up to ``half`` frame numbers away, weighted by distance.

    A missing frame has no weight, and the weights of the existing frames are normalised to sum to one: at the ends of a
    clip and beside a gap, the mean is of the existing frames.

    Args:
        x: (T, C), at least 0.
        frame_numbers: (T,) rising.
        half: at least 0.
        weigh: distances (n,), from ``-half`` to ``half``, to weights (n,), at least 0, above 0 at distance 0.

    Returns:
        (T, C), at least 0.
    """
    means = np.empty(x.shape)
    for piece in grid_pieces(frame_numbers, half):
        weights = weigh(piece.distances)
        values = x[piece.wide]
        total = piece.sums(np.ones(len(values)), weights)
        for column in range(x.shape[1]):
            means[piece.rows, column] = piece.sums(values[:, column], weights) / total
    return means


@dataclass(frozen=True, eq=False)
class GridPiece:
    """Some frames of a clip, and all others in their reach, on the grid.

    Attributes:
        rows: the n frames whose windows are summed.
        wide: these and the others in reach, W of them.
        positions: (W,) of ``wide`` on the grid; every other position is empty.
        centres: (n,) positions of ``rows``.
        unit: frame numbers from one position to the next.
        reach: positions on either side of a frame that belong to its window.
        length: positions on the grid, including ``reach`` empty ones at either end.
    """

    rows: slice
    wide: slice
    positions: np.ndarray
    centres: np.ndarray
    unit: int
    reach: int
    length: int

    @property
    def distances(self) -> np.ndarray:
        """(2 reach + 1,) frame numbers from the frame to each position of its window, rising."""
        return self.unit * np.arange(-self.reach, self.reach + 1)

    def sums(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return weighted sums over windows.

        Args:
            values: (W,) of the frames of ``wide``.
            weights: (2 reach + 1,) by position in the window.

        Returns:
            (n,) a sum for each frame of ``rows``.
        """
        grid = np.zeros(self.length)
        grid[self.positions] = values
        found: np.ndarray = np.correlate(grid, weights, "valid")[self.centres - self.reach]
        return found


def grid_pieces(frame_numbers: np.ndarray, half: int) -> Iterator[GridPiece]:
    """Yield a clip piece by piece, for windows of up to ``half`` frame numbers on either side.

    A gap that no window bridges is shortened, and frame numbers with a common step are counted in it, so that a clip
    with lost frames, or with every tenth frame, costs little more than another.

    Args:
        frame_numbers: (T,) rising.
        half: at least 0.
    """
    if not len(frame_numbers):
        return
    half = min(half, int(frame_numbers[-1] - frame_numbers[0]))
    steps = np.diff(frame_numbers)
    near = steps[steps <= half]
    unit = int(np.gcd.reduce(near)) if len(near) else 1
    reach = half // unit if len(near) else 0
    positions = np.concatenate([[0], np.cumsum(np.where(steps <= half, steps // unit, reach + 1))])
    for start in range(0, len(frame_numbers), _ROWS):
        stop = min(start + _ROWS, len(frame_numbers))
        first = int(np.searchsorted(frame_numbers, frame_numbers[start] - half))
        last = int(np.searchsorted(frame_numbers, frame_numbers[stop - 1] + half, side="right"))
        inside = positions[first:last] - positions[first] + reach
        yield GridPiece(
            rows=slice(start, stop),
            wide=slice(first, last),
            positions=inside,
            centres=inside[start - first : stop - first],
            unit=unit,
            reach=reach,
            length=int(inside[-1]) + reach + 1,
        )
