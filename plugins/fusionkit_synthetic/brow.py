"""The brows of a synthetic face: AU1 and AU2 lift their ends, AU4 lowers them and draws them together."""

from __future__ import annotations

import numpy as np

from fusionkit_synthetic.action import Side
from fusionkit_synthetic.canvas import curve, fill, strokes, tone
from fusionkit_synthetic.identity import Identity

EYE_X, EYE_Y = 17.6, 51.7
_ALONG = np.array([-9.2, -3.6, 3.4, 10.6])
_INNER = np.array([1.0, 0.62, 0.12, 0.0])
_OUTER = np.array([0.0, 0.35, 1.0, 0.8])
_FROWN = np.array([1.0, 0.85, 0.5, 0.15])
_TOGETHER = np.array([1.0, 0.7, 0.3, 0.1])
_TAPER = np.interp(np.linspace(0, 1, 13), [0.0, 0.12, 0.5, 0.8, 1.0], [0.65, 1.0, 0.95, 0.6, 0.12])


def brow_line(who: Identity, side: int, au: Side) -> np.ndarray:
    """The middle line of a brow (4, 2), inner end first; ``side`` is -1 for the image's left, 1 for its right."""
    rest = np.array([0.6, -0.5 - 0.4 * who.brow_arch, -1.0 - 0.8 * who.brow_arch, 0.9]) + who.brow_tilt * np.array(
        [0.8, 0.3, -0.3, -0.8]
    )
    # with AU1 the inner ends go up although AU4 draws them together: the oblique brow of sadness
    frown = au[4] * (1.0 - 0.7 * au[1] * _INNER)
    lift = 4.6 * au[1] * _INNER + 4.4 * au[2] * _OUTER - 3.9 * frown * _FROWN - 1.6 * au[9] * _INNER
    x = 56 + side * (EYE_X + who.eye_gap + _ALONG - (2.4 * au[4] + 0.8 * au[9]) * _TOGETHER)
    y = EYE_Y - who.brow_height + rest - lift
    return np.stack([x, y], 1)


def draw_brow(image: np.ndarray, who: Identity, line: np.ndarray, offset: tuple[float, float]) -> None:
    """Draw one brow along its middle line: a tapered shape, and some hairs across it."""
    path = curve(line + offset, 4)
    half = who.brow_thickness * _TAPER
    upper, lower = path.copy(), path.copy()
    upper[:, 1] -= half
    lower[:, 1] += half
    colour = who.brow_colour
    fill(image, np.concatenate([upper, lower[::-1]]), colour)
    lean = np.sign(path[-1, 0] - path[0, 0]) * np.array([1.3, 0.0])
    hairs = np.stack([lower[:-2] - [0.0, 0.2], upper[:-2] + lean - [0.0, 0.4]], 1)
    strokes(image, hairs[::2], tone(colour, 0.84), 0.5)
    strokes(image, hairs[1::2], tone(colour, 1.12), 0.5)
