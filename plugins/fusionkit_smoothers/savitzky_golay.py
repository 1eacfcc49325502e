"""Polynomials over time: the Savitzky-Golay filter, where frames may be missing."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts import Smoother, require_count
from fusionkit.errors import ConfigError
from fusionkit_smoothers.option_checks import require_width, settled
from fusionkit_smoothers.time_grid import GridPiece, grid_pieces

_HIGHEST = 3
_THIN = 1e-8  # a determinant below this leaves too little of the digits for the normal equations


class SavitzkyGolay(Smoother):
    """Each frame's value of a polynomial, fitted by least squares to the frames up to half a width away.

    It keeps the height of a short peak better than a mean does. The polynomial is one of frame numbers: missing frames
    take no part, and at the ends of a clip and beside gaps it is fitted to what there is. A frame with so few others in
    reach that a polynomial goes through them all is left as it is. What comes out below 0 is set to 0, and rows are
    divided by their sum. A clip without change stays as it is.

    Args:
        width: frames in the window, odd: the frame and as many on either side. ``1`` changes nothing. ``'auto'`` is
            chosen on dev.
        order: of the polynomial, 0 to 3; ``0`` is the plain mean.

    Reference: Savitzky and Golay 1964, "Smoothing and differentiation of data by simplified least squares procedures"
    (https://doi.org/10.1021/ac60214a047). In a full window it is ``scipy.signal.savgol_filter``; the fit to frame
    numbers elsewhere is our reading, as is the default width.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 11, 25, 51, 101, 201)}
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 7}, {"width": 15, "order": 3})

    def __init__(self, width: int | Literal["auto"] = 101, order: int = 2) -> None:
        require_width("savitzky-golay", width)
        require_count("savitzky-golay: order", order, least=0)
        if order > _HIGHEST:
            raise ConfigError(f"savitzky-golay: order={order} is above {_HIGHEST}")
        self.width = width
        self.order = order

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Polynomials over time.

        Args:
            x: (T, C) probabilities.
            frame_numbers: (T,) rising.

        Returns:
            (T, C) not negative.

        Raises:
            PluginError: if the width is still ``'auto'``.
        """
        half = settled("savitzky-golay", "width", self.width) // 2
        fitted = np.empty(x.shape)
        for piece in grid_pieces(frame_numbers, half):
            fitted[piece.rows] = _fitted(x[piece.wide], piece, self.order)
        return fitted.clip(0)


def _fitted(values: np.ndarray, piece: GridPiece, order: int) -> np.ndarray:
    """The polynomials' values at their own frames: (W, C) to (n, C)."""
    # Distances from -1 to 1, so that no power of them is large.
    powers = (piece.distances / max(1, piece.unit * piece.reach)) ** np.arange(2 * order + 1)[:, None]
    moments = np.stack([piece.sums(np.ones(len(values)), power) for power in powers], axis=1)
    frames = np.rint(moments[:, 0])
    normal = (moments / frames[:, None])[:, np.add.outer(np.arange(order + 1), np.arange(order + 1))]
    through_all = frames <= order + 1
    thin = ~through_all & (np.linalg.det(normal) < _THIN)
    usual = ~through_all & ~thin
    weights = np.zeros((len(moments), order + 1))
    weights[usual] = np.linalg.solve(normal[usual], np.eye(order + 1)[:, :1])[..., 0] / frames[usual, None]
    fitted = np.zeros((len(moments), values.shape[1]))
    for column in range(values.shape[1]):
        for weight, power in zip(weights.T, powers, strict=False):
            fitted[:, column] += weight * piece.sums(values[:, column], power)
    first = piece.rows.start - piece.wide.start
    fitted[through_all] = values[first : first + len(frames)][through_all]
    for row in np.flatnonzero(thin).tolist():
        fitted[row] = _fitted_alone(values, piece, row, order)
    return fitted


def _fitted_alone(values: np.ndarray, piece: GridPiece, row: int, order: int) -> np.ndarray:
    """The same for one frame, whose window holds frames in a few heaps: (W, C) to (C,)."""
    here = piece.asked[row]
    first, stop = np.searchsorted(piece.place, [here - piece.reach, here + piece.reach + 1])
    powers = ((piece.place[first:stop] - here) / piece.reach)[:, None] ** np.arange(order + 1)
    at_frame: np.ndarray = np.linalg.lstsq(powers, values[first:stop])[0][0]
    return at_frame
