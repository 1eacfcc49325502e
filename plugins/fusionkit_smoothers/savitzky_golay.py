"""Polynomials over time: the Savitzky-Golay filter, where frames may be missing."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from fusionkit.contracts.option_types import Count, Range
from fusionkit_smoothers.shared_options import WindowSmoother
from fusionkit_smoothers.time_grid import GridPiece, grid_pieces

_SINGULAR = 1e-8  # below this determinant, the normal equations lose too many digits


class SavitzkyGolay(WindowSmoother):
    """Each frame's value of a polynomial, fitted by least squares to the frames up to half a width away.

    It keeps the height of a short peak better than a mean does. The polynomial is one of frame numbers: missing frames
    are left out, and at the ends of a clip and beside gaps it is fitted to the existing frames. Where a window has so
    few frames that the polynomial passes through all of them, its frame is unchanged. Negative values are set to 0, and
    rows are divided by their sum. A constant clip is unchanged.

    Args:
        order: of the polynomial; ``0`` is the plain mean.

    Reference: Savitzky and Golay 1964, "Smoothing and differentiation of data by simplified least squares procedures"
    (https://doi.org/10.1021/ac60214a047). In a full window it is ``scipy.signal.savgol_filter``; the fit to frame
    numbers elsewhere is our reading, as is the default width.
    """

    auto: ClassVar[dict[str, tuple[Any, ...]]] = {"width": (1, 11, 25, 51, 101, 201)}
    examples = ({"width": 7}, {"width": 15, "order": 3})

    def __init__(
        self, width: Count | Literal["clip", "auto"] = "clip", order: Annotated[int, Range(least=0, most=3)] = 2
    ) -> None:
        super().__init__(width)
        self.order = order

    @property
    def span(self) -> float | None:
        """The width of a plain mean; None for a polynomial that bends, which follows a clip however wide it is."""
        return super().span if self.order < 2 else None

    def smooth(self, x: np.ndarray, frame_numbers: np.ndarray) -> np.ndarray:
        """Fit polynomials over time: (T, C) probabilities to (T, C), at least 0."""
        fitted = np.empty(x.shape)
        for piece in grid_pieces(frame_numbers, self.half(frame_numbers)):
            fitted[piece.rows] = _fitted(x[piece.wide], piece, self.order)
        return fitted.clip(0)


def _fitted(values: np.ndarray, piece: GridPiece, order: int) -> np.ndarray:
    """Return the polynomials' values at their own frames: (W, C) to (n, C)."""
    # Distances from -1 to 1, so that no power of them is large.
    powers = (piece.distances / max(1, piece.unit * piece.reach)) ** np.arange(2 * order + 1)[:, None]
    moments = np.stack([piece.sums(np.ones(len(values)), power) for power in powers], axis=1)
    frames = np.rint(moments[:, 0])
    normal = (moments / frames[:, None])[:, np.add.outer(np.arange(order + 1), np.arange(order + 1))]
    through_all = frames <= order + 1
    singular = ~through_all & (np.linalg.det(normal) < _SINGULAR)
    regular = ~through_all & ~singular
    weights = np.zeros((len(moments), order + 1))
    weights[regular] = np.linalg.solve(normal[regular], np.eye(order + 1)[:, :1])[..., 0] / frames[regular, None]
    fitted = np.zeros((len(moments), values.shape[1]))
    for column in range(values.shape[1]):
        for weight, power in zip(weights.T, powers, strict=False):
            fitted[:, column] += weight * piece.sums(values[:, column], power)
    first = piece.rows.start - piece.wide.start
    fitted[through_all] = values[first : first + len(frames)][through_all]
    for row in np.flatnonzero(singular).tolist():
        fitted[row] = _fitted_alone(values, piece, row, order)
    return fitted


def _fitted_alone(values: np.ndarray, piece: GridPiece, row: int, order: int) -> np.ndarray:
    """Return the value of one frame whose window holds frames in a few clusters: (W, C) to (C,)."""
    centre = piece.centres[row]
    first, stop = np.searchsorted(piece.positions, [centre - piece.reach, centre + piece.reach + 1])
    powers = ((piece.positions[first:stop] - centre) / piece.reach)[:, None] ** np.arange(order + 1)
    at_frame: np.ndarray = np.linalg.lstsq(powers, values[first:stop])[0][0]
    return at_frame
