"""The eyes of a synthetic face: AU5 widens, AU6 and AU7 narrow, AU43 closes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit_synthetic.action import Side
from fusionkit_synthetic.brow import EYE_X, EYE_Y
from fusionkit_synthetic.canvas import Colour, ellipse, fill, mix, stroke, tone
from fusionkit_synthetic.identity import Identity

WHITE: Colour = (238, 236, 232)
_T = np.linspace(-1, 1, 15)  # inner to outer corner
_UPPER = (1 - np.abs(_T) ** 2.3) ** 0.75
_RISE = 0.35 + 0.65 * _UPPER
_LOWER = (1 - _T**2) ** 0.9
_INNERMOST = np.clip(-_T, 0, 1) * (1 + _T) * 4 * 0.6
_DISC = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 13))
_HALF = np.sqrt(1 - _DISC**2)
_RINGS = np.array([[1.0], [0.82], [0.46]])  # rim, iris, pupil


@dataclass(frozen=True)
class Eye:
    """One eye: its lid contours (n, 2) from inner to outer corner, and its iris."""

    upper: np.ndarray
    lower: np.ndarray
    iris: tuple[float, float]
    radius: float
    side: int

    @property
    def opening(self) -> float:
        """Largest distance between the lids, px."""
        return float((self.lower[:, 1] - self.upper[:, 1]).max())


def eye_shape(
    who: Identity, side: int, au: Side, gaze: tuple[float, float] = (0.0, 0.0), offset: tuple[float, float] = (0.0, 0.0)
) -> Eye:
    """Where the lids of one eye are; ``side`` is -1 for the image's left, 1 for its right."""
    x = 56 + side * (EYE_X + who.eye_gap) + offset[0]
    y = EYE_Y + offset[1]
    up = (3.75 * who.eye_open + 2.5 * au[5] - 1.1 * au[7] - 0.5 * au[4] - 0.5 * au[9] - 0.35 * au[6]) * (1 - au[43])
    low = 2.5 * who.eye_open - 1.5 * au[6] - 1.0 * au[7] - 0.5 * au[9] - 0.3 * au[12] + 0.3 * au[5] + 0.3 * au[43]
    up, low = max(up, -0.2), max(low, 0.25)
    across = x + side * who.eye_width * _T
    slant = y - 0.6 * who.eye_tilt * _T
    closing = (low - 0.4) * au[43]  # the upper lid meets the lower one below the middle of the eye
    upper = slant - (up - closing) * _UPPER - 0.9 * au[1] * (1 - au[43]) * _INNERMOST
    lower = np.maximum(slant + low * _LOWER, upper + 0.05)
    centre = (x + 2.6 * gaze[0], y - 0.5 + 1.7 * gaze[1])
    return Eye(np.stack([across, upper], 1), np.stack([across, lower], 1), centre, 3.55, side)


def draw_eye(image: np.ndarray, who: Identity, eye: Eye) -> None:
    """Draw one eye: lid, white, iris, pupil, glint, crease and lashes."""
    shadow = tone(who.skin, 0.52)
    lid = eye.upper.copy()
    lid[:, 1] -= 1.7 * _UPPER
    fill(image, np.concatenate([lid, eye.lower[::-1]]), tone(who.skin, 0.84))
    opening = eye.opening
    if opening > 0.8:
        _draw_ball(image, who, eye, glint=opening > 2.6)
    crease = eye.upper.copy()
    crease[:, 1] -= (1.6 + 1.1 * who.crease) * _RISE
    stroke(image, crease[1:], mix(who.skin, shadow, 0.35 + 0.5 * who.crease), 0.6)
    _draw_lashes(image, who, eye)
    stroke(image, eye.lower[2:], mix(who.skin, shadow, 0.62), 0.5)


def _draw_ball(image: np.ndarray, who: Identity, eye: Eye, glint: bool) -> None:
    white = mix(WHITE, who.skin, 0.1)
    fill(image, np.concatenate([eye.upper, eye.lower[::-1]]), white)
    shade = eye.upper.copy()
    shade[:, 1] = np.minimum(shade[:, 1] + 1.1, eye.lower[:, 1])
    fill(image, np.concatenate([eye.upper, shade[::-1]]), tone(white, 0.74))
    corner = eye.upper[0] + [1.1 * eye.side, 0.5]
    ellipse(image, (float(corner[0]), float(corner[1])), (1.0, 0.7), mix(who.skin, (190, 80, 84), 0.5))
    colours = (tone(who.iris, 0.5), tone(who.iris, 1.15), (14, 12, 12))
    for disc, colour in zip(_clipped(eye, eye.radius * _RINGS), colours, strict=True):
        fill(image, disc, colour)
    x, y = eye.iris
    if glint:
        ellipse(image, (x - 1.1, y - 1.2), (0.85, 0.85), (250, 250, 250))


def _clipped(eye: Eye, radii: np.ndarray) -> np.ndarray:
    """Discs (k, n, 2) around the iris, as far as the lids leave them open; ``radii`` is (k, 1)."""
    x = eye.iris[0] + radii * _DISC
    order = eye.upper[:, 0] * eye.side
    top = np.interp(x * eye.side, order, eye.upper[:, 1])
    bottom = np.interp(x * eye.side, order, eye.lower[:, 1])
    low = np.minimum(np.maximum(eye.iris[1] - radii * _HALF, top), bottom)
    high = np.minimum(np.maximum(eye.iris[1] + radii * _HALF, top), bottom)
    discs = np.empty((len(radii), 2 * len(_DISC), 2))
    discs[:, : len(_DISC), 0], discs[:, len(_DISC) :, 0] = x, x[:, ::-1]
    discs[:, : len(_DISC), 1], discs[:, len(_DISC) :, 1] = low, high[:, ::-1]
    return discs


def _draw_lashes(image: np.ndarray, who: Identity, eye: Eye) -> None:
    dark = mix((26, 20, 20), who.skin, 0.12)
    thick = 0.9 + 0.5 * who.lashes
    edge = eye.upper.copy()
    edge[:, 1] -= thick * _RISE
    fill(image, np.concatenate([edge, eye.upper[::-1]]), dark)
    stroke(image, eye.upper, dark, 0.5)
    if who.lashes > 0.4:
        tip = eye.upper[-1] + np.array([1.7 * eye.side, -1.5]) * who.lashes
        stroke(image, np.stack([eye.upper[-3], eye.upper[-1], tip]), dark, 0.7)
