"""The mouth of a synthetic face: corners by AU12, 14, 15, 18, 20; lips by AU10, 16, 17, 23, 24; opening by AU25, 26."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit_synthetic.action import LEFT, RIGHT, Side
from fusionkit_synthetic.canvas import Colour, fill, mix, moved, stroke, tone
from fusionkit_synthetic.identity import Identity

MOUTH_Y = 92.3
TEETH: Colour = (240, 236, 226)
_T = np.linspace(-1, 1, 21)
_BOW = np.interp(np.abs(_T), [0.0, 0.07, 0.26, 0.6, 0.85, 1.0], [0.84, 0.87, 1.0, 0.66, 0.26, 0.0])
_BELLY = (1 - np.abs(_T) ** 2.4) ** 0.8
_OPEN = (1 - _T**2) ** 0.75
_PULL = np.abs(_T) ** 1.5


@dataclass(frozen=True)
class Mouth:
    """A mouth: four contours (n, 2) from the image's left corner to its right one, top to bottom."""

    upper_outer: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray

    @property
    def corners(self) -> np.ndarray:
        """(2, 2): left and right corner."""
        return self.upper_inner[[0, -1]]

    @property
    def opening(self) -> float:
        """Largest distance between the lips, px."""
        return float((self.lower_inner[:, 1] - self.upper_inner[:, 1]).max())


def jaw_drop(au: tuple[Side, Side]) -> float:
    """Return the shift of the chin, px."""
    return 6.5 * (au[LEFT][26] + au[RIGHT][26]) / 2


def mouth_shape(person: Identity, au: tuple[Side, Side], offset: tuple[float, float] = (0.0, 0.0)) -> Mouth:
    """Return the contours of the lips."""
    mean = {unit: (au[LEFT][unit] + au[RIGHT][unit]) / 2 for unit in au[LEFT]}
    width, height = np.zeros(2), np.zeros(2)
    for row in (LEFT, RIGHT):
        width[row], height[row] = _corner(person, au[row])
    share = (_T + 1) / 2
    x = 56 + offset[0] + _T * (width[LEFT] * (1 - share) + width[RIGHT] * share)
    droop = 2.6 * mean[26] - 0.8 * mean[17] + 0.35 * mean[12]
    line = MOUTH_Y + offset[1] + droop * (1 - _PULL) + _PULL * (height[LEFT] * (1 - share) + height[RIGHT] * share)
    lift = np.array([2.3 * a[10] + 0.8 * a[9] + 0.5 * a[25] * (1 + 1.6 * a[12]) for a in au])
    raised = (lift[LEFT] * (1 - share) + lift[RIGHT] * share) * _BELLY
    pressed = (1 - 0.45 * mean[23]) * (1 - 0.6 * mean[24]) * (1 - 0.22 * mean[12]) * (1 + 0.3 * mean[18])
    parted = (2.3 * mean[25] + 8.6 * mean[26] + 1.5 * mean[16]) * (1 - 0.7 * mean[24]) * _OPEN
    upper_inner = line - raised * 0.9
    upper_outer = upper_inner - person.upper_lip * pressed * _BOW - 0.3 * raised
    lower_inner = np.maximum(line + parted - 1.2 * mean[17] * _OPEN, upper_inner + 0.02)
    fullness = person.lower_lip * pressed * (1 + 0.25 * mean[16] + 0.25 * mean[17]) * (1 - 0.15 * mean[26])
    lower_outer = lower_inner + fullness * _BELLY
    return Mouth(*(np.stack([x, y], 1) for y in (upper_outer, upper_inner, lower_inner, lower_outer)))


def _corner(person: Identity, a: Side) -> tuple[float, float]:
    """Return (distance from the middle, height relative to rest) of one corner, px."""
    reach = 3.4 * a[12] + 3.6 * a[20] + 1.3 * a[14] + 0.5 * a[15]
    narrow = 5.8 * a[18] + 1.8 * a[23] + 0.9 * a[24] + 2.2 * a[26] * (1 - a[12])
    down = 3.7 * a[15] + 0.9 * a[20] + 0.5 * a[17] + 1.2 * a[26] + person.mouth_rest
    return person.mouth_width + reach - narrow, down - 5.4 * a[12] - 0.7 * a[14] - 0.5 * a[10]


def draw_mouth(image: np.ndarray, person: Identity, mouth: Mouth) -> None:
    """Draw lips, and where they are parted the teeth and the tongue behind them."""
    upper = tone(person.lips, 0.86)
    fill(image, np.concatenate([mouth.upper_outer, mouth.lower_outer[::-1]]), person.lips)
    fill(image, np.concatenate([mouth.upper_outer, mouth.upper_inner[::-1]]), upper)
    if mouth.opening > 0.9:
        _draw_inside(image, mouth)
    seam = tone(person.lips, 0.42)
    stroke(image, mouth.upper_inner, seam, 0.7)
    _draw_gloss(image, person, mouth)
    under = moved(mouth.lower_outer[4:-4], 0.0, 0.35)
    stroke(image, under, mix(tone(person.skin, 0.62), person.lips, 0.3), 0.5)


def _draw_inside(image: np.ndarray, mouth: Mouth) -> None:
    top, bottom = mouth.upper_inner, mouth.lower_inner
    fill(image, np.concatenate([top, bottom[::-1]]), (66, 22, 26))
    gap = bottom[:, 1] - top[:, 1]
    teeth = top.copy()
    teeth[:, 1] += np.minimum(np.maximum(gap - 0.5, 0) * 0.8, 3.2 * _OPEN)
    fill(image, np.concatenate([top, teeth[::-1]]), TEETH)
    if mouth.opening > 5.0:
        tongue = bottom.copy()
        tongue[:, 1] -= np.maximum(gap - 5.0, 0) * 0.62
        fill(image, np.concatenate([tongue[5:-5], bottom[5:-5][::-1]]), (172, 76, 80))


def _draw_gloss(image: np.ndarray, person: Identity, mouth: Mouth) -> None:
    middle = mouth.lower_inner * 0.55 + mouth.lower_outer * 0.45
    stroke(image, middle[6:-6], mix(person.lips, (255, 226, 216), 0.34), 0.8)
    stroke(image, mouth.upper_outer[3:-3], mix(tone(person.skin, 0.95), person.lips, 0.5), 0.5)
