"""Glasses of a synthetic face."""

from __future__ import annotations

import numpy as np

from fusionkit_synthetic.canvas import Colour, curve, fill, stroke
from fusionkit_synthetic.eye import EYE_X, EYE_Y
from fusionkit_synthetic.identity import Identity

_ROUND = np.array([(-11, 0), (-8, -8), (0, -10.5), (8, -8), (11, 0), (8, 8), (0, 10.5), (-8, 8)], dtype=float)
_SQUARE = np.array(
    [(-12, -5), (-11, -8), (0, -8.6), (11, -8), (12, -5), (11, 6), (8, 8.6), (-8, 8.6), (-11, 6)], dtype=float
)


def _rims(person: Identity, shape: str, offset: tuple[float, float]) -> list[np.ndarray]:
    form = curve(_SQUARE if shape == "square" else _ROUND, 5, closed=True)
    rims = []
    for side in (-1, 1):
        rim = form * [side, 1.0] + [56 + side * (EYE_X + 0.4 + person.eye_gap) + offset[0], EYE_Y + 1.6 + offset[1]]
        rims.append(np.concatenate([rim, rim[:1]]))
    return rims


def draw_glasses(image: np.ndarray, person: Identity, offset: tuple[float, float]) -> None:
    """Draw rims, bridge and temples of the person's glasses."""
    rims = _rims(person, person.glasses, offset)
    _draw_frame(image, rims, person.glasses_colour, offset)


def draw_sunglasses(image: np.ndarray, person: Identity, offset: tuple[float, float]) -> None:
    """Draw opaque dark glasses."""
    rims = _rims(person, "square", offset)
    for rim in rims:
        fill(image, rim, (28, 26, 32))
        x, y = rim.mean(0).tolist()
        fill(image, np.array([(x - 6, y - 7), (x - 1, y - 7), (x - 6, y + 5), (x - 9, y + 4)]), (62, 62, 74))
    _draw_frame(image, rims, (18, 18, 20), offset)


def _draw_frame(image: np.ndarray, rims: list[np.ndarray], colour: Colour, offset: tuple[float, float]) -> None:
    for rim, side in zip(rims, (-1, 1), strict=True):
        stroke(image, rim, colour, 1.0)
        edge = rim[np.argmax(rim[:, 0] * side)]
        stroke(image, [edge.tolist(), (56 + 46.0 * side, float(edge[1]) - 2.0)], colour, 1.2)
    inner = [float(rims[0][:, 0].max()), float(rims[1][:, 0].min())]
    y = EYE_Y - 0.5 + offset[1]
    stroke(image, curve([(inner[0], y + 1), (56 + offset[0], y - 1.2), (inner[1], y + 1)], 4), colour, 1.1)
