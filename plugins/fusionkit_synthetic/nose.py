"""The nose of a synthetic face: AU9 pulls its wings up and opens the nostrils, AU10 lifts and AU38 widens them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit_synthetic.action import LEFT, RIGHT, Side
from fusionkit_synthetic.canvas import curve, ellipse, mix, stroke, tone
from fusionkit_synthetic.identity import Identity

TIP_Y = 71.7


@dataclass(frozen=True)
class Nose:
    """A nose: its tip, and its wings' outermost points (2, 2), left of the image first."""

    tip: tuple[float, float]
    wings: np.ndarray
    flare: tuple[float, float]


def nose_shape(person: Identity, au: tuple[Side, Side], offset: tuple[float, float] = (0.0, 0.0)) -> Nose:
    """Return positions of tip, wings and nostrils."""
    x, y = 56 + offset[0], TIP_Y + person.nose_length + offset[1]
    wings, flare = np.zeros((2, 2)), [0.0, 0.0]
    for row, side in ((LEFT, -1), (RIGHT, 1)):
        a = au[row]
        spread = person.nose_width + 0.9 * a[9] + 0.5 * a[10] + 0.7 * a[12] + 1.0 * a[38]
        wings[row] = x + side * spread, y + 0.4 - 3.0 * a[9] - 1.3 * a[10] - 0.3 * a[12]
        flare[row] = 0.8 * a[9] + 0.45 * a[10] + 0.8 * a[38]
    lift = 1.1 * max(au[LEFT][9], au[RIGHT][9])
    return Nose((x, y - lift), wings, (flare[0], flare[1]))


def draw_nose(image: np.ndarray, person: Identity, nose: Nose) -> None:
    """Draw wings, nostrils and the lower edge of the tip; the bridge is part of the skin layer."""
    dark, deep = mix(person.skin, tone(person.skin, 0.5), 0.75), tone(person.skin, 0.3)
    x, y = nose.tip
    for row, side in ((LEFT, -1), (RIGHT, 1)):
        wing_x, wing_y = nose.wings[row].tolist()
        wing = [
            (wing_x - 1.4 * side, wing_y - 3.6),
            (wing_x + 0.1 * side, wing_y - 1.4),
            (wing_x - 0.4 * side, wing_y + 1.2),
            (wing_x - 2.2 * side, wing_y + 1.6),
        ]
        stroke(image, curve(wing, 4), dark, 0.7)
        flare = nose.flare[row]
        centre = (x + side * (0.52 * person.nose_width + 0.3 * flare), (wing_y + y) / 2 + 1.7)
        ellipse(image, centre, (1.75 + 0.7 * flare, 0.85 + 0.55 * flare), deep, -18 * side)
    edge = [(x - 2.6, y + 2.6), (x, y + 3.5), (x + 2.6, y + 2.6)]
    stroke(image, curve(edge, 4), dark, 0.5)
    ellipse(image, (x - 0.4, y - 2.2), (1.5, 1.2), mix(tone(person.skin, 1.06), (255, 250, 240), 0.12))
