"""Beards and stubble of a synthetic face: they follow the jaw, so they are drawn anew for every frame."""

from __future__ import annotations

import cv2
import numpy as np

from fusionkit_synthetic.canvas import SIDE, curve, fill, strokes, tone
from fusionkit_synthetic.identity import Identity
from fusionkit_synthetic.mouth import Mouth


def beard_texture(who: Identity, rng: np.random.Generator) -> np.ndarray:
    """Short hair everywhere (SIDE, SIDE, 3)."""
    texture = np.empty((SIDE, SIDE, 3), np.uint8)
    texture[:] = tone(who.hair, 0.8)
    for gloss in (0.55, 0.7, 0.85, 1.0, 1.15, 1.3):
        root = rng.uniform((8, 70), (104, 118), (70, 2))
        lean = 0.05 * (root[:, 0] - 56) + rng.normal(0, 0.6, 70)
        strokes(texture, np.stack([root, root + np.stack([lean, np.full(70, 3.0)], 1)], 1), tone(who.hair, gloss), 0.5)
    return cv2.GaussianBlur(texture, (3, 3), 0)


def beard_mask(who: Identity, face: np.ndarray, mouth: Mouth, drop: float) -> np.ndarray:
    """Where this person's beard is on this frame (SIDE, SIDE), 0..255; ``face`` is the outline (n, 2)."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    (left_x, left_y), (right_x, right_y) = mouth.corners.tolist()
    low = float(mouth.lower_outer[:, 1].max())
    if who.beard in ("full", "stubble"):
        _fill_jaw(mask, face, (left_x, left_y, right_x, right_y))
    if who.beard == "goatee":
        chin = who.chin + drop + 2
        patch = [(left_x - 1, left_y), (46, chin), (56, chin + 2), (66, chin), (right_x + 1, right_y), (64, low + 1.5)]
        fill(mask, curve([*patch, (56, low + 1.0), (48, low + 1.5)], 4, closed=True), 255)
    top = mouth.upper_outer
    above = top[::2] - [0.0, 1.0]
    rim = np.array([(left_x - 2.2, left_y + 2.5), (left_x - 1.5, left_y - 2.5), (56, float(top[:, 1].min()) - 4.6)])
    other = np.array([(right_x + 1.5, right_y - 2.5), (right_x + 2.2, right_y + 2.5)])
    fill(mask, np.concatenate([curve(np.concatenate([rim, other]), 4), above[::-1]]), 255)
    return mask


def _fill_jaw(mask: np.ndarray, face: np.ndarray, corners: tuple[float, float, float, float]) -> None:
    left_x, left_y, right_x, right_y = corners
    below = face[face[:, 1] > 62.0]
    right, left = below[below[:, 0] > 56], below[below[:, 0] <= 56]
    right, left = right[np.argsort(right[:, 1])], left[np.argsort(-left[:, 1])]
    inner = [
        (left[-1, 0] + 3.5, 66.0),
        (left[-1, 0] + 8.5, 82.0),
        (left_x - 3.0, left_y - 1.0),
        (48.0, left_y + 8.5),
        (56.0, (left_y + right_y) / 2 + 7.5),
        (64.0, right_y + 8.5),
        (right_x + 3.0, right_y - 1.0),
        (right[0, 0] - 8.5, 82.0),
        (right[0, 0] - 3.5, 66.0),
    ]
    fill(mask, np.concatenate([right, left, curve(inner, 5)]), 255)
