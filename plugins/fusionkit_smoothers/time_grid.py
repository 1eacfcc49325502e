"""The frames of a clip on an even grid in time, where a sum over a window is a convolution whatever the gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_ROWS = 65536  # frames a piece: bounds the memory that a grid of a clip with many gaps takes


@dataclass(frozen=True, eq=False)
class GridPiece:
    """Some frames of a clip, and all others in their reach, on the grid.

    Attributes:
        rows: the frames that are asked for.
        wide: these and the others in reach, W of them.
        place: (W,) where on the grid each of ``wide`` stands; every other place is empty.
        asked: (n,) where those of ``rows`` stand.
        unit: frame numbers from one place to the next.
        reach: places on either side of a frame that belong to its window.
        length: L, places on the grid, ``reach`` empty ones at either end among them.
    """

    rows: slice
    wide: slice
    place: np.ndarray
    asked: np.ndarray
    unit: int
    reach: int
    length: int

    @property
    def distances(self) -> np.ndarray:
        """(2 reach + 1,) frame numbers from the frame to each place of its window: falling before, rising after."""
        return self.unit * np.arange(-self.reach, self.reach + 1)

    def sums(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Weighted sums over windows.

        Args:
            values: (W,) of the frames of ``wide``.
            weights: (2 reach + 1,) by place in the window.

        Returns:
            (n,) a sum for each frame of ``rows``.
        """
        grid = np.zeros(self.length)
        grid[self.place] = values
        found: np.ndarray = np.correlate(grid, weights, "valid")[self.asked - self.reach]
        return found


def grid_pieces(frame_numbers: np.ndarray, half: int) -> Iterator[GridPiece]:
    """A clip piece by piece, for windows of up to ``half`` frame numbers on either side.

    A gap that no window bridges is shortened, and frame numbers with a common step are counted in it, so that a clip
    that lost frames, or of which every tenth was kept, costs little more than another.

    Args:
        frame_numbers: (T,) rising.
        half: from 0 up.
    """
    if not len(frame_numbers):
        return
    half = min(half, int(frame_numbers[-1] - frame_numbers[0]))
    steps = np.diff(frame_numbers)
    near = steps[steps <= half]
    unit = int(np.gcd.reduce(near)) if len(near) else 1
    reach = half // unit if len(near) else 0
    places = np.where(steps <= half, steps // unit, reach + 1)
    place = np.concatenate([[0], np.cumsum(places)])
    for start in range(0, len(frame_numbers), _ROWS):
        stop = min(start + _ROWS, len(frame_numbers))
        first = int(np.searchsorted(frame_numbers, frame_numbers[start] - half))
        last = int(np.searchsorted(frame_numbers, frame_numbers[stop - 1] + half, side="right"))
        here = place[first:last] - place[first] + reach
        yield GridPiece(
            rows=slice(start, stop),
            wide=slice(first, last),
            place=here,
            asked=here[start - first : stop - first],
            unit=unit,
            reach=reach,
            length=int(here[-1]) + reach + 1,
        )
