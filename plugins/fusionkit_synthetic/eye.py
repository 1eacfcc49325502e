"""Eyes and brows of a synthetic face.

AU5 widens the eyes, AU6 and AU7 narrow them, AU43 closes them. AU1 and AU2 raise the ends of the brows, AU4 lowers them
and draws them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit_synthetic.action import Side
from fusionkit_synthetic.canvas import Colour, curve, ellipse, fill, mix, stroke, strokes, tone
from fusionkit_synthetic.identity import Identity

EYE_X, EYE_Y = 17.6, 51.7

WHITE: Colour = (238, 236, 232)
_T = np.linspace(-1, 1, 15)  # inner to outer corner
_UPPER = (1 - np.abs(_T) ** 2.3) ** 0.75
_RISE = 0.35 + 0.65 * _UPPER
_LOWER = (1 - _T**2) ** 0.9
_INNERMOST = np.clip(-_T, 0, 1) * (1 + _T) * 4 * 0.6
_DISC = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 13))
_HALF = np.sqrt(1 - _DISC**2)
_RINGS = np.array([[1.0], [0.82], [0.46]])  # rim, iris, pupil
_BROW_X = np.array([-9.2, -3.6, 3.4, 10.6])
_INNER_BROW = np.array([1.0, 0.62, 0.12, 0.0])
_OUTER_BROW = np.array([0.0, 0.35, 1.0, 0.8])
_FROWN = np.array([1.0, 0.85, 0.5, 0.15])
_TOGETHER = np.array([1.0, 0.7, 0.3, 0.1])
_TAPER = np.interp(np.linspace(0, 1, 13), [0.0, 0.12, 0.5, 0.8, 1.0], [0.65, 1.0, 0.95, 0.6, 0.12])


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
    person: Identity,
    side: int,
    au: Side,
    gaze: tuple[float, float] = (0.0, 0.0),
    offset: tuple[float, float] = (0.0, 0.0),
) -> Eye:
    """Return the shape of one eye; ``side`` is -1 for the image's left, 1 for its right."""
    x = 56 + side * (EYE_X + person.eye_gap) + offset[0]
    y = EYE_Y + offset[1]
    up = (3.75 * person.eye_open + 2.5 * au[5] - 1.1 * au[7] - 0.5 * au[4] - 0.5 * au[9] - 0.35 * au[6]) * (1 - au[43])
    low = 2.5 * person.eye_open - 1.5 * au[6] - 1.0 * au[7] - 0.5 * au[9] - 0.3 * au[12] + 0.3 * au[5] + 0.3 * au[43]
    up, low = max(up, -0.2), max(low, 0.25)
    across = x + side * person.eye_width * _T
    slant = y - 0.6 * person.eye_tilt * _T
    closing = (low - 0.4) * au[43]  # the upper lid meets the lower one below the middle of the eye
    upper = slant - (up - closing) * _UPPER - 0.9 * au[1] * (1 - au[43]) * _INNERMOST
    lower = np.maximum(slant + low * _LOWER, upper + 0.05)
    centre = (x + 2.6 * gaze[0], y - 0.5 + 1.7 * gaze[1])
    return Eye(np.stack([across, upper], 1), np.stack([across, lower], 1), centre, 3.55, side)


def draw_eye(image: np.ndarray, person: Identity, eye: Eye) -> None:
    """Draw one eye: lid, white, iris, pupil, glint, crease and lashes."""
    shadow = tone(person.skin, 0.52)
    lid = eye.upper.copy()
    lid[:, 1] -= 1.7 * _UPPER
    fill(image, np.concatenate([lid, eye.lower[::-1]]), tone(person.skin, 0.84))
    opening = eye.opening
    if opening > 0.8:
        _draw_ball(image, person, eye, glint=opening > 2.6)
    crease = eye.upper.copy()
    crease[:, 1] -= (1.6 + 1.1 * person.crease) * _RISE
    stroke(image, crease[1:], mix(person.skin, shadow, 0.35 + 0.5 * person.crease), 0.6)
    _draw_lashes(image, person, eye)
    stroke(image, eye.lower[2:], mix(person.skin, shadow, 0.62), 0.5)


def _draw_ball(image: np.ndarray, person: Identity, eye: Eye, glint: bool) -> None:
    white = mix(WHITE, person.skin, 0.1)
    fill(image, np.concatenate([eye.upper, eye.lower[::-1]]), white)
    shade = eye.upper.copy()
    shade[:, 1] = np.minimum(shade[:, 1] + 1.1, eye.lower[:, 1])
    fill(image, np.concatenate([eye.upper, shade[::-1]]), tone(white, 0.74))
    corner = eye.upper[0] + [1.1 * eye.side, 0.5]
    ellipse(image, (float(corner[0]), float(corner[1])), (1.0, 0.7), mix(person.skin, (190, 80, 84), 0.5))
    colours = (tone(person.iris, 0.5), tone(person.iris, 1.15), (14, 12, 12))
    for disc, colour in zip(_clipped(eye, eye.radius * _RINGS), colours, strict=True):
        fill(image, disc, colour)
    x, y = eye.iris
    if glint:
        ellipse(image, (x - 1.1, y - 1.2), (0.85, 0.85), (250, 250, 250))


def _clipped(eye: Eye, radii: np.ndarray) -> np.ndarray:
    """Return discs (k, n, 2) around the iris, clipped by the lids; ``radii`` is (k, 1)."""
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


def _draw_lashes(image: np.ndarray, person: Identity, eye: Eye) -> None:
    dark = mix((26, 20, 20), person.skin, 0.12)
    thick = 0.9 + 0.5 * person.lashes
    edge = eye.upper.copy()
    edge[:, 1] -= thick * _RISE
    fill(image, np.concatenate([edge, eye.upper[::-1]]), dark)
    stroke(image, eye.upper, dark, 0.5)
    if person.lashes > 0.4:
        tip = eye.upper[-1] + np.array([1.7 * eye.side, -1.5]) * person.lashes
        stroke(image, np.stack([eye.upper[-3], eye.upper[-1], tip]), dark, 0.7)


def brow_line(person: Identity, side: int, au: Side) -> np.ndarray:
    """Return the middle line of a brow (4, 2) from its inner end; ``side`` is as for :func:`eye_shape`."""
    arch, tilt = person.brow_arch, person.brow_tilt
    rest = np.array([0.6, -0.5 - 0.4 * arch, -1.0 - 0.8 * arch, 0.9]) + tilt * np.array([0.8, 0.3, -0.3, -0.8])
    # with AU1 the inner ends go up while AU4 draws them together: the oblique brow of sadness
    frown = au[4] * (1.0 - 0.7 * au[1] * _INNER_BROW)
    lift = 4.6 * au[1] * _INNER_BROW + 4.4 * au[2] * _OUTER_BROW - 3.9 * frown * _FROWN - 1.6 * au[9] * _INNER_BROW
    x = 56 + side * (EYE_X + person.eye_gap + _BROW_X - (2.4 * au[4] + 0.8 * au[9]) * _TOGETHER)
    y = EYE_Y - person.brow_height + rest - lift
    return np.stack([x, y], 1)


def draw_brow(image: np.ndarray, person: Identity, line: np.ndarray, offset: tuple[float, float]) -> None:
    """Draw one brow along its middle line: a tapered shape, and some hairs across it."""
    path = curve(line + offset, 4)
    half = person.brow_thickness * _TAPER
    upper, lower = path.copy(), path.copy()
    upper[:, 1] -= half
    lower[:, 1] += half
    colour = person.brow_colour
    fill(image, np.concatenate([upper, lower[::-1]]), colour)
    lean = np.sign(path[-1, 0] - path[0, 0]) * np.array([1.3, 0.0])
    hairs = np.stack([lower[:-2] - [0.0, 0.2], upper[:-2] + lean - [0.0, 0.4]], 1)
    strokes(image, hairs[::2], tone(colour, 0.84), 0.5)
    strokes(image, hairs[1::2], tone(colour, 1.12), 0.5)
