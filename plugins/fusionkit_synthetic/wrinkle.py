"""Skin folds caused by muscles: darker lines and bulges, as a gain map for the skin of one frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from fusionkit_synthetic.action import LEFT, RIGHT, Side
from fusionkit_synthetic.canvas import SIDE, creases, curve, spot
from fusionkit_synthetic.eye import Eye
from fusionkit_synthetic.identity import Identity
from fusionkit_synthetic.mouth import Mouth
from fusionkit_synthetic.nose import Nose

NEUTRAL = 128
_MIRROR = {LEFT: -1, RIGHT: 1}
Line = Sequence[tuple[float, float]]


class Folds:
    """A set of folds; ``gain`` is their map (SIDE, SIDE) uint8, where 128 means no change."""

    def __init__(self) -> None:
        self._lines: dict[int, list[tuple[Line, int, float]]] = {}
        self._bulges = np.full((SIDE // 4, SIDE // 4), NEUTRAL, np.uint8)

    def line(self, points: Line, depth: float, width: float = 1.0) -> None:
        """Add a crease through control points; depth 0..1 is the loss of light."""
        if depth > 0.03:
            level = round(NEUTRAL * (1 - min(depth, 0.75)))
            self._lines.setdefault(len(points), []).append((points, level, width))

    def bulge(self, centre: tuple[float, float], radii: tuple[float, float], gain: float) -> None:
        """Add a soft spot, lighter (gain > 0) or darker."""
        if abs(gain) > 0.01:
            spot(self._bulges, centre, radii, round(NEUTRAL * (1 + gain)))

    def gain(self) -> np.ndarray:
        """Return lines, slightly blurred, and bulges, strongly blurred, in one map."""
        small = cv2.blur(cv2.blur(self._bulges, (5, 5)), (3, 3))
        soft = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        fine = cv2.GaussianBlur(self._drawn_lines(), (3, 3), 0)
        return cv2.addWeighted(fine, 1.0, soft, 1.0, -float(NEUTRAL), dtype=cv2.CV_8U)

    def _drawn_lines(self) -> np.ndarray:
        image = np.full((SIDE, SIDE), NEUTRAL, np.uint8)
        for lines in self._lines.values():
            points, levels, widths = zip(*lines, strict=True)
            creases(image, curve(points, 3), levels, widths)
        return image


def folds(person: Identity, au: tuple[Side, Side], eyes: tuple[Eye, Eye], nose: Nose, mouth: Mouth) -> np.ndarray:
    """Return the gain map (SIDE, SIDE) uint8 of one frame."""
    skin = Folds()
    _forehead(skin, person, au)
    _glabella(skin, person, au)
    _chin(skin, au, mouth)
    for row in (LEFT, RIGHT):
        _around_eye(skin, person, au[row], eyes[row])
        _nose_side(skin, au[row], nose, row)
        _cheek(skin, person, au[row], eyes[row], nose.wings[row], mouth.corners[row])
    return skin.gain()


def _forehead(skin: Folds, person: Identity, au: tuple[Side, Side]) -> None:
    inner = max(au[LEFT][1], au[RIGHT][1])
    rest = 0.09 * person.age
    for number, y in enumerate((31.0, 26.0, 21.0)):
        fade = 1 - 0.22 * number
        lift = 2.0 * inner
        depth = (rest + (0.16 + 0.18 * person.age) * inner) * fade
        skin.line([(45, y + 1 - lift), (56, y - lift), (67, y + 1 - lift)], depth)
        for row, side in _MIRROR.items():
            outer = au[row][2]
            depth = (rest + (0.16 + 0.18 * person.age) * outer) * fade
            raised = y - 2.4 * outer
            path = [(56 + 9 * side, raised + 0.5), (56 + 20 * side, raised - 1.5), (56 + 31 * side, raised + 2)]
            skin.line(path, depth)


def _glabella(skin: Folds, person: Identity, au: tuple[Side, Side]) -> None:
    frown = (au[LEFT][4] + au[RIGHT][4]) / 2
    wrinkle = (au[LEFT][9] + au[RIGHT][9]) / 2
    for side in (-1, 1):
        x = 56 + side * (3.4 - 0.6 * frown)
        skin.line([(x + 0.8 * side, 38.0), (x, 43.0), (x + 0.5 * side, 48.5)], 0.07 * person.age + 0.46 * frown)
    skin.bulge((56, 44), (6, 5), -0.16 * frown)
    for y in (49.5, 53.0, 56.5):
        skin.line([(51.2, y + 1.0), (56, y - 0.6), (60.8, y + 1.0)], 0.36 * wrinkle)


def _around_eye(skin: Folds, person: Identity, a: Side, eye: Eye) -> None:
    squeeze = max(a[6], 0.7 * a[7], 0.8 * a[43] * a[6])
    corner_x, corner_y = eye.upper[-1].tolist()
    s = eye.side
    for rise in (-3.2, 0.2, 3.4):
        tip = (corner_x + 6.6 * s, corner_y + rise * 1.5)
        skin.line([(corner_x + 2.2 * s, corner_y + rise * 0.5), tip], (0.05 + 0.3 * squeeze) * (0.4 + person.age) * 0.9)
    x, y = float(eye.lower[7, 0]), float(eye.lower[7, 1])
    depth = 0.08 * person.bags + 0.32 * squeeze
    skin.line([(x - 7 * s, y + 1.6), (x, y + 3.1), (x + 7.5 * s, y + 1.2)], depth)


def _nose_side(skin: Folds, a: Side, nose: Nose, row: int) -> None:
    side, depth = _MIRROR[row], 0.4 * a[9]
    x = nose.tip[0]
    for y in (58.5, 62.0, 65.5):
        skin.line([(x + 2.2 * side, y - 1.6), (x + 5.0 * side, y), (x + 7.8 * side, y + 3.0)], depth)
    skin.bulge((x + 9.5 * side, 64.5), (3.2, 4.0), 0.12 * a[9])
    skin.bulge((x + 5.2 * side, float(nose.wings[row, 1]) - 0.6), (2.4, 2.2), 0.07)


def _cheek(skin: Folds, person: Identity, a: Side, eye: Eye, wing: np.ndarray, corner: np.ndarray) -> None:
    s = eye.side
    lift = max(a[6], 0.8 * a[12])
    x, y = float(eye.lower[7, 0]) + 3.5 * s, 70.0 - 3.5 * lift
    skin.bulge((x, y), (9, 6.5), 0.14 * lift)
    skin.bulge((x + 0.5 * s, y + 10.5), (9, 3.0), -0.1 * lift)
    skin.bulge((56 + 27 * s, 85), (5, 11), -0.2 * a[26] - 0.12 * a[18])
    wing_x, wing_y = wing.tolist()
    corner_x, corner_y = corner.tolist()
    pull = min(1.0, 0.85 * a[12] + 0.9 * a[10] + 0.5 * a[9] + 0.3 * a[20] + 0.35 * a[15])
    fold = [
        (wing_x + 1.2 * s, wing_y - 1.0),
        (wing_x + (3.8 + 1.8 * a[12]) * s, wing_y + 4.5),
        (corner_x + (3.6 + 1.2 * a[12]) * s, corner_y - 4.0),
        (corner_x + 4.2 * s, corner_y + 1.5 + 2.0 * a[15]),
    ]
    skin.line(fold, 0.05 + 0.13 * person.age + 0.31 * pull, 1.2)
    dent = max(0.5 * a[12], a[14], 0.7 * a[15], 0.6 * a[24])
    dip = 3.2 * a[15]
    skin.line([(corner_x + 1.2 * s, corner_y - 1.6), (corner_x + 2.0 * s, corner_y + 1.8 + dip)], 0.45 * dent)


def _chin(skin: Folds, au: tuple[Side, Side], mouth: Mouth) -> None:
    ball = (au[LEFT][17] + au[RIGHT][17]) / 2
    low = float(mouth.lower_outer[:, 1].max())
    skin.line([(47, low + 3.4), (56, low + 1.8), (65, low + 3.4)], 0.10 + 0.4 * ball, 1.1)
    for x, y in ((51.0, 6.5), (55.0, 8.2), (59.5, 6.2), (53.0, 9.8), (58.0, 9.6)):
        skin.bulge((x, low + y), (1.6, 1.2), -0.55 * ball)
