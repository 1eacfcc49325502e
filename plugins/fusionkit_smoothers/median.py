"""The median over time, class by class."""

from __future__ import annotations

import numpy as np

from fusionkit_smoothers.shared_options import WindowSmoother
from fusionkit_smoothers.time_grid import GridPiece, grid_pieces


class Median(WindowSmoother):
    """Each class's median over the frames up to half a width away; rows are then divided by their sum.

    Distance is counted in frame numbers, and a missing frame is left out. Of an even number of frames, at the ends of a
    clip or beside a gap, the median is the mean of the middle two. Where every class's median is 0, the frame keeps its
    own probabilities. A constant clip is unchanged.

    Reference: a median of 101 frames ends the pipeline of the two-stage dual-modality model of ABAW-10
    (https://arxiv.org/abs/2603.12221), there of logits, with the ends repeated; here of probabilities, as for the
    other windows.
    """

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Take medians over time: (T, C) probabilities to (T, C), at least 0."""
        medians = np.empty(x.shape)
        for piece in grid_pieces(frame_numbers, self.half(frame_numbers)):
            for column in range(x.shape[1]):
                medians[piece.rows, column] = _medians(x[piece.wide, column], piece)
        empty = medians.sum(1) <= 0
        medians[empty] = x[empty]
        return medians


def _medians(values: np.ndarray, piece: GridPiece) -> np.ndarray:
    """Return medians over the existing frames: (W,) to (n,).

    Empty positions hold -inf and inf alternately. In any window their counts then differ by one at most, so that the
    middle value of all is the median of an odd number of frames, and one of the middle two of an even number. With the
    two infinities swapped, it is the other one.
    """
    from scipy.ndimage import median_filter

    empty = np.ones(piece.length, dtype=bool)
    empty[piece.positions] = False
    alternating = np.where(np.arange(np.count_nonzero(empty)) % 2, np.inf, -np.inf)
    grid = np.empty(piece.length)
    grid[piece.positions] = values
    middle = []
    for fill in (alternating, -alternating):
        grid[empty] = fill
        middle.append(median_filter(grid, size=2 * piece.reach + 1)[piece.centres])
    found: np.ndarray = (middle[0] + middle[1]) / 2
    return found
