"""The median over time, class by class."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother
from fusionkit_smoothers.option_checks import require_width, settled
from fusionkit_smoothers.time_grid import GridPiece, grid_pieces


class Median(Smoother):
    """Each class's median over the frames up to half a width away; rows are then divided by their sum.

    Distance is counted in frame numbers: a missing frame takes no part, and of an even number of frames, at the ends of
    a clip or beside a gap, the median is the mean of the middle two. Where every class's median is 0, the frame keeps
    its own probabilities. A clip without change stays as it is.

    Args:
        width: frames in the window, odd: the frame and as many on either side. ``1`` changes nothing. ``'auto'`` is
            chosen on dev.

    Reference: a median of 101 frames ends the pipeline of the two-stage dual-modality model of ABAW-10
    (https://arxiv.org/abs/2603.12221), there of logits, with the ends repeated; here of probabilities, as for the
    other windows.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 5, 11, 25, 51, 101, 201)}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 5}, {"width": 15})

    def __init__(self, width: int | Literal["auto"] = 101) -> None:
        require_width("median", width)
        self.width = width

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Medians over time.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) not negative.

        Raises:
            PluginError: if the width is still ``'auto'``.
        """
        half = settled("median", "width", self.width) // 2
        medians = np.empty(x.shape)
        for piece in grid_pieces(frame_numbers, half):
            for column in range(x.shape[1]):
                medians[piece.rows, column] = _medians(x[piece.wide, column], piece)
        empty = medians.sum(1) <= 0
        medians[empty] = x[empty]
        return medians


def _medians(values: np.ndarray, piece: GridPiece) -> np.ndarray:
    """Medians over the frames that are there: (W,) to (n,).

    Empty places hold -inf and inf by turns. In any window their numbers then differ by one at most, so that the middle
    one of all is the median of an odd number of frames, and one of the middle two of an even number: with the turns
    exchanged, it is the other one.
    """
    from scipy.ndimage import median_filter

    empty = np.ones(piece.length, dtype=bool)
    empty[piece.place] = False
    turns = np.where(np.arange(np.count_nonzero(empty)) % 2, np.inf, -np.inf)
    grid = np.empty(piece.length)
    grid[piece.place] = values
    middle = []
    for fill in (turns, -turns):
        grid[empty] = fill
        middle.append(median_filter(grid, size=2 * piece.reach + 1)[piece.asked])
    found: np.ndarray = (middle[0] + middle[1]) / 2
    return found
