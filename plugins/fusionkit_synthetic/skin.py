"""The head of a synthetic face without its features: outline, shaded skin, ears, neck, clothes and backdrop."""

from __future__ import annotations

import cv2
import numpy as np

from fusionkit_synthetic.canvas import (
    SIDE,
    Colour,
    bump,
    curve,
    ellipse,
    fill,
    mirrored,
    mix,
    moved,
    tone,
)
from fusionkit_synthetic.eye import EYE_X
from fusionkit_synthetic.identity import Identity


def outline(person: Identity, drop: float, cheeks: float, offset: tuple[float, float]) -> np.ndarray:
    """Return the contour of the face (n, 2); ``drop`` px lower the chin, ``cheeks`` in 0..1 raises the cheeks."""
    half = np.array(
        [
            (18.0, -13.0),
            (person.forehead - 3.0, 6.0),
            (person.forehead + 1.5, 26.0),
            (person.cheek - 0.3, 46.0),
            (person.cheek + 0.7 * cheeks, 64.0),
            ((person.cheek + person.jaw) / 2 + 1.0, 80.0 + 0.2 * drop),
            (person.jaw - 2.0, 94.0 + 0.55 * drop),
            ((person.jaw + person.chin_width) / 2 - 1.5, person.chin - 5.0 + 0.85 * drop),
            (person.chin_width - 2.0, person.chin - 0.3 + drop),
        ]
    )
    right = moved(half, 56.0, 0.0)
    return curve(np.concatenate([right, mirrored(right)[::-1]]), 4, closed=True) + offset


def skin_layer(person: Identity, rng: np.random.Generator) -> np.ndarray:
    """Return (SIDE, SIDE, 3) covered with skin, with the shading of the person's face at rest."""
    shade, red = _relief(person), _blush(person)
    lumps = rng.normal(0, 0.012 * (0.5 + person.age), (SIDE // 4, SIDE // 4)).astype(np.float32)
    grain = cv2.resize(lumps, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    light, shadow = np.maximum(shade, 1.0) + grain, np.minimum(shade, 1.0) - 1.0
    # shadows on skin are warm: blue decreases most
    channels = [
        value * (light + warm * shadow + tint * red)
        for value, warm, tint in zip(person.skin, (0.88, 1.0, 1.1), (0.05, -0.10, -0.08), strict=True)
    ]
    layer: np.ndarray = cv2.convertScaleAbs(cv2.merge(channels))
    if person.freckles > 0:
        _freckle(layer, person, rng)
    return layer


def _relief(person: Identity) -> np.ndarray:
    """Return light on the face as a gain: dark at sides and eyes, bright on forehead, nose, cheeks and chin."""
    x = np.linspace(-60, 60, SIDE)
    level = np.tile((0.98 - 0.34 * np.abs(x / 45.0) ** 3).astype(np.float32), (SIDE, 1))
    level += 0.09 * bump(56, 22, 24, 14) + 0.10 * bump(56, 58, 2.6, 13) + 0.07 * bump(56, 70, 4.5, 4)
    level += 0.05 * bump(56, 107, 8, 5) - 0.10 * bump(56, 78.2, 6.5, 2.4) - 0.13 * bump(56, 101.8, 10, 2.4)
    level -= 0.12 * bump(56, 121, 40, 9)
    for side in (-1, 1):
        eye = 56 + side * (EYE_X + person.eye_gap)
        level += 0.10 * bump(56 + side * 23, 67, 9, 8) + 0.05 * bump(eye + 2 * side, 40.5, 9, 3)
        level -= 0.13 * bump(eye, 49.5, 11, 5) + 0.13 * bump(56 + side * 7.2, 50, 4, 6)
        level -= (0.06 + 0.16 * person.bags) * bump(eye - 2 * side, 58.8, 7, 1.9)
        level -= 0.10 * bump(56 + side * 6.2, 63, 2.6, 8) + 0.05 * bump(56 + side * 25, 84, 8, 12)
        level -= (0.03 + 0.10 * person.age) * bump(56 + side * 15.5, 80, 2.2, 7)
    return level


def _blush(person: Identity) -> np.ndarray:
    spots = bump(56, 70, 6, 5) * np.float32(0.7)
    for side in (-1, 1):
        spots = spots + bump(56 + side * 24, 69, 10, 8)
    warmed: np.ndarray = spots * np.float32(person.blush)
    return warmed


def _freckle(layer: np.ndarray, person: Identity, rng: np.random.Generator) -> None:
    for _ in range(70):
        x, y = 56 + rng.normal(0, 15), 65 + rng.normal(0, 5)
        ellipse(layer, (float(x), float(y)), (0.55, 0.5), tone(person.skin, 0.78))


def back_layer(person: Identity, rng: np.random.Generator) -> np.ndarray:
    """Return the background (SIDE, SIDE, 3): a blurred room, clothes, neck and ears, without hair."""
    layer = _backdrop(person, rng)
    shoulders = [(-8, 124), (-8, 112), (16, 106), (36, 100), (56, 104), (76, 100), (96, 106), (120, 112), (120, 124)]
    fill(layer, curve(shoulders, 4), person.cloth)
    neck = [(30.0, 84.0), (33.0, 112.0), (26.0, 124.0), (86.0, 124.0), (79.0, 112.0), (82.0, 84.0)]
    fill(layer, np.array(neck), tone(person.skin, 0.66))
    for side in (-1, 1):
        ear = 56 + side * (person.cheek + 0.5)
        ellipse(layer, (ear, 62.0), (4.6, 9.5), tone(person.skin, 0.84), 8 * side)
        ellipse(layer, (ear + 0.9 * side, 61.5), (2.4, 6.4), tone(person.skin, 0.66), 8 * side)
    return layer


def _backdrop(person: Identity, rng: np.random.Generator) -> np.ndarray:
    far = mix(person.backdrop, (128, 126, 122), 0.55)
    layer = np.empty((SIDE, SIDE, 3), np.uint8)
    layer[:] = tone(far, 0.9)
    for _ in range(7):
        spot: Colour = tone(far, 0.55 + 0.9 * float(rng.random()))
        x, y, rx, ry = (float(value) for value in rng.uniform((-4, -4, 6, 8), (116, 116, 26, 40)))
        ellipse(layer, (x, y), (rx, ry), spot)
    small = cv2.resize(layer, (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.2), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
