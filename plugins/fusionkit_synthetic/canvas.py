"""Drawing in face units: points are px of the 112 x 112 aligned face; the canvas is larger and finer.

OpenCV gets only fixed-point integers, so that the same points give the same pixels in any process.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

SIZE = 112
MARGIN = 4  # px around the frame, for small shifts and turns of the head
SCALE = 2  # canvas px per face px; the frame is the area mean
SIDE = (SIZE + 2 * MARGIN) * SCALE
_BITS = 4
_STEP = float(SCALE << _BITS)
_ORIGIN = ((MARGIN + 0.5) * SCALE - 0.5) * (1 << _BITS) + 0.5  # the last half rounds

Colour = tuple[int, int, int]


def fixed(points: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    """Convert face units (..., 2) to fixed-point canvas px, int32; px centres are integers in both."""
    return (np.asarray(points) * _STEP + _ORIGIN).astype(np.int32)


def fill(image: np.ndarray, points: np.ndarray, colour: Colour | int) -> None:
    """Fill a polygon (n, 2)."""
    cv2.fillPoly(image, [fixed(points)], colour, shift=_BITS)


def stroke(
    image: np.ndarray, points: np.ndarray | Sequence[Sequence[float]], colour: Colour | int, width: float
) -> None:
    """Draw an open line (n, 2) of a width in face px."""
    cv2.polylines(image, [fixed(points)], False, colour, max(1, round(width * SCALE)), cv2.LINE_8, _BITS)


def strokes(image: np.ndarray, lines: np.ndarray, colour: Colour | int, width: float) -> None:
    """Draw many open lines (m, n, 2) of one colour."""
    cv2.polylines(image, list(fixed(lines)), False, colour, max(1, round(width * SCALE)), cv2.LINE_8, _BITS)


def creases(image: np.ndarray, lines: np.ndarray, levels: Sequence[int], widths: Sequence[float]) -> None:
    """Draw many open lines (m, n, 2) on a single-channel map, each with its own level and width."""
    for line, level, width in zip(fixed(lines), levels, widths, strict=True):
        cv2.polylines(image, [line], False, level, max(1, round(width * SCALE)), cv2.LINE_8, _BITS)


def ellipse(
    image: np.ndarray, centre: tuple[float, float], radii: tuple[float, float], colour: Colour | int, turn: int = 0
) -> None:
    """Fill an ellipse turned by ``turn`` degrees."""
    middle = (int(centre[0] * _STEP + _ORIGIN), int(centre[1] * _STEP + _ORIGIN))
    axes = (int(radii[0] * _STEP), int(radii[1] * _STEP))
    cv2.ellipse(image, middle, axes, turn, 0, 360, colour, -1, cv2.LINE_8, _BITS)


def curve(points: np.ndarray | Sequence[Sequence[float]], per_segment: int = 6, closed: bool = False) -> np.ndarray:
    """Return a Catmull-Rom curve through control points (n, 2), or many curves at once, (m, n, 2).

    Reference: E. Catmull, R. Rom, A class of local interpolating splines, 1974.
    """
    control = np.asarray(points, dtype=np.float64)
    line: np.ndarray = _spline(control.shape[-2], per_segment, closed) @ control
    return line


def spot(image: np.ndarray, centre: tuple[float, float], radii: tuple[float, float], level: int) -> None:
    """Fill an upright ellipse on a single-channel map with a quarter of the side of the canvas."""
    middle = (int((centre[0] * _STEP + _ORIGIN) / 4), int((centre[1] * _STEP + _ORIGIN) / 4))
    axes = (int(radii[0] * _STEP / 4), int(radii[1] * _STEP / 4))
    cv2.ellipse(image, middle, axes, 0, 0, 360, level, -1, cv2.LINE_8, _BITS)


@cache
def _spline(count: int, per_segment: int, closed: bool) -> np.ndarray:
    """Return the matrix that maps ``count`` control points to the points of their curve."""
    segments = count if closed else count - 1
    steps = [(segment, step / per_segment) for segment in range(segments) for step in range(per_segment)]
    rows = [_weights(count, segment, t, closed) for segment, t in steps]
    if not closed:
        rows.append(_weights(count, segments - 1, 1.0, closed))
    return np.stack(rows)


def _weights(count: int, segment: int, t: float, closed: bool) -> np.ndarray:
    blend = (
        -0.5 * t + t * t - 0.5 * t**3,
        1 - 2.5 * t * t + 1.5 * t**3,
        0.5 * t + 2 * t * t - 1.5 * t**3,
        -0.5 * t * t + 0.5 * t**3,
    )
    row = np.zeros(count)
    for offset, weight in zip((-1, 0, 1, 2), blend, strict=True):
        index = segment + offset
        row[index % count if closed else min(max(index, 0), count - 1)] += weight
    return row


def moved(points: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return points shifted by ``x`` to the right and ``y`` down."""
    shifted: np.ndarray = points + np.array((x, y))
    return shifted


def mirrored(points: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    """Return points mirrored at the midline of the face."""
    flipped = np.array(points, dtype=np.float64)
    flipped[..., 0] = SIZE - flipped[..., 0]
    return flipped


@cache
def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return ``first`` with a fraction (0..1) of ``second``."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(first, second, strict=True))
    return r, g, b


@cache
def tone(colour: Colour, gain: float) -> Colour:
    """Return a lighter or darker colour."""
    r, g, b = (min(255, max(0, round(value * gain))) for value in colour)
    return r, g, b


@cache
def _axis() -> np.ndarray:
    return (np.arange(SIDE) + 0.5) / SCALE - MARGIN - 0.5


def bump(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Return a Gaussian bump of height 1 at (x, y), of the size of the canvas."""
    across = np.exp(-(((_axis() - x) / width) ** 2))
    down = np.exp(-(((_axis() - y) / height) ** 2))
    hill: np.ndarray = np.outer(down, across).astype(np.float32)
    return hill
