"""Hair and beard of a synthetic face: a style is a list of locks, a lock is two edges with strands between them."""

from __future__ import annotations

import cv2
import numpy as np

from fusionkit_synthetic.canvas import SIDE, bump, curve, fill, mirrored, moved, stroke, strokes, tone
from fusionkit_synthetic.identity import Identity
from fusionkit_synthetic.mouth import Mouth

Edge = list[tuple[float, float]]
Lock = tuple[Edge, Edge]  # inner edge, towards the face, and outer edge

_TOP: Edge = [(11, 58), (7, 44), (5, 28), (8, 8), (22, -10), (56, -16), (90, -10), (104, 8), (107, 28), (105, 44),
              (101, 58)]  # fmt: skip
_HAIRLINE: Edge = [(15, 58), (17, 46), (18, 34), (25, 20), (39, 12), (56, 10.5), (73, 12), (87, 20), (94, 34),
                   (95, 46), (97, 58)]  # fmt: skip
_LOW_LINE: Edge = [(15, 60), (17.5, 46), (19, 35), (23, 26), (38, 20), (56, 18), (74, 20), (89, 26), (93, 35),
                   (94.5, 46), (97, 60)]  # fmt: skip
_HIGH_LINE: Edge = [(15, 58), (16.5, 46), (17, 34), (22, 14), (36, -2), (56, 6), (76, -2), (90, 14), (95, 34),
                    (95.5, 46), (97, 58)]  # fmt: skip
_PARTED: Edge = [(15, 60), (17.5, 46), (18.5, 33), (22, 18), (33, 4), (54, 14), (75, 24), (90, 30), (94, 38),
                 (95, 46), (97, 60)]  # fmt: skip
_BANGS: Edge = [(15, 66), (16.5, 50), (19, 36), (28, 29), (42, 28), (56, 29), (70, 28), (84, 29), (93, 36),
                (95.5, 50), (97, 66)]  # fmt: skip
_BEANIE: Edge = [(9, 44), (18, 30), (34, 22), (56, 20), (78, 22), (94, 30), (103, 44)]
_CROWN: Edge = [(6, 42), (6, 16), (24, -10), (56, -14), (88, -10), (106, 16), (106, 42)]

_CURTAIN: Lock = (
    [(57, -6), (44, 4), (27, 19), (19, 38), (15, 64), (13, 92), (18, 124)],
    [(57, -16), (20, -14), (-2, 10), (-4, 40), (-6, 70), (-6, 96), (-6, 124)],
)
_BOB: Lock = (
    [(64, -8), (48, 6), (29, 22), (19, 40), (15, 62), (16, 78), (23, 94)],
    [(64, -16), (22, -14), (0, 10), (-2, 40), (-3, 66), (0, 84), (8, 99)],
)
_BEHIND: Lock = (
    [(20, -10), (14, 20), (14, 60), (18, 100), (24, 124)],
    [(-8, -10), (-8, 20), (-8, 60), (-8, 100), (-8, 124)],
)


_FOLDS: tuple[Edge, ...] = (
    [(56, 3), (80, 7), (98, 22), (106, 46), (108, 80)],
    [(60, -4), (90, -2), (106, 12), (116, 40)],
    [(92, 90), (84, 106), (70, 117), (50, 124)],
)


def _both(lock: Lock) -> list[Lock]:
    """Return a lock and its mirror image."""
    first, second = (mirrored(edge).tolist() for edge in lock)
    return [lock, (first, second)]


FRONT: dict[str, list[Lock]] = {
    "bald": [],
    "short": [(_LOW_LINE, _TOP)],
    "side-part": [(_PARTED, _TOP)],
    "receding": [(_HIGH_LINE, _TOP)],
    "fringe": [(_BANGS, _TOP)],
    "tied": [(_HAIRLINE, _TOP)],
    "curly": [(_LOW_LINE, _TOP)],
    "buzz": [(_HAIRLINE, _TOP)],
    "long": _both(_CURTAIN),
    "bob": _both(_BOB),
    "headscarf": [],
    "beanie": [],
}
_LONG_BEHIND = frozenset({"long", "fringe"})


def draw_hair_behind(layer: np.ndarray, person: Identity, rng: np.random.Generator) -> None:
    """Draw the hair behind the face."""
    if person.hair_style in _LONG_BEHIND:
        for lock in _both(_BEHIND):
            _draw_lock(layer, None, lock, person, rng, 0.8)
    elif person.hair_style == "curly":
        _draw_curls(layer, None, person, rng, around=True)


def hair_layer(person: Identity, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the hair over the face: colours (SIDE, SIDE, 3) and their mask (SIDE, SIDE), 0 or 255."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for lock in FRONT[person.hair_style]:
        _draw_lock(image, mask, lock, person, rng, 1.0)
        _fray(image, mask, _placed(lock[0], person), person, rng)
    if person.hair_style == "headscarf":
        _draw_headscarf(image, mask, person)
    elif person.hair_style == "beanie":
        _draw_beanie(image, mask, person)
    elif person.hair_style == "fringe":
        _draw_tufts(image, mask, person, rng)
    elif person.hair_style == "curly":
        _draw_curls(image, mask, person, rng, around=False)
    return _glossy(image), mask


def _placed(edge: Edge, person: Identity) -> np.ndarray:
    """Return an edge as a curve on this head; edges are given for cheeks 42 px from the midline."""
    return moved(moved(curve(edge, 6), -56.0, 0.0) * [person.cheek / 42.0, 1.0], 56.0, 0.0)


def _draw_lock(
    image: np.ndarray, mask: np.ndarray | None, lock: Lock, person: Identity, rng: np.random.Generator, gain: float
) -> None:
    first, second = _placed(lock[0], person), _placed(lock[1], person)
    region = np.concatenate([first, second[::-1]])
    fill(image, region, tone(person.hair, 0.9 * gain))
    if mask is not None:
        fill(mask, region, 255)
    contrast = 0.25 if person.hair_style == "buzz" else 0.75
    shares, starts = rng.beta(0.9, 1.1, 70), rng.integers(0, len(first) // 2, 70)
    waves = rng.normal(0, 0.35, (70, 1, 2))
    strands = first * (1 - shares[:, None, None]) + second * shares[:, None, None] + waves
    glosses = np.round(gain * (0.97 + contrast * (rng.random(70) - 0.47)), 2)
    for strand, start, gloss in zip(strands, starts.tolist(), glosses.tolist(), strict=True):
        stroke(image, strand[start : start + len(first) // 2], tone(person.hair, gloss), 0.5)


def _fray(image: np.ndarray, mask: np.ndarray, edge: np.ndarray, person: Identity, rng: np.random.Generator) -> None:
    """Draw single hairs across an edge, so that it is not a sharp outline."""
    length = 0.7 if person.hair_style in ("buzz", "long", "bob") else 1.7
    count = 90
    at = edge[rng.integers(2, len(edge) - 2, count)] + rng.normal(0, 0.7, (count, 2))
    towards = np.array([56.0, 62.0]) - at
    towards /= np.abs(towards).max(1, keepdims=True)
    tips = at + towards * length * rng.random((count, 1)) + rng.normal(0, 0.7, (count, 2))
    hairs = np.stack([at - 2.0 * towards, tips], 1)
    for part, gloss in enumerate((0.75, 0.85, 0.95)):
        strokes(image, hairs[part::3], tone(person.hair, gloss), 0.5)
    strokes(mask, hairs, 255, 0.5)


def _draw_tufts(image: np.ndarray, mask: np.ndarray, person: Identity, rng: np.random.Generator) -> None:
    """Draw the ends of a fringe as separate tufts with strands."""
    for x in np.arange(21.0, 92.0, 3.4).tolist():
        end = 31.0 + 3.0 * float(rng.random()) + 0.0022 * (x - 56) ** 2
        lean = float(rng.normal(0, 0.8))
        tuft = np.array([(x - 2.8, 22.0), (x + 2.8, 22.0), (x + 0.7 + lean, end), (x - 0.7 + lean, end - 0.6)])
        fill(image, tuft, tone(person.hair, round(0.78 + 0.25 * float(rng.random()), 2)))
        fill(mask, tuft, 255)
        for _ in range(3):
            strand = [(56 + (x - 56) * 0.8 + float(rng.normal(0, 2)), -6.0), (x + float(rng.normal(0, 1)), 16.0)]
            gloss = round(0.65 + 0.65 * float(rng.random()), 2)
            stroke(image, curve([*strand, (x + lean, end)], 4), tone(person.hair, gloss), 0.5)


def _draw_curls(
    image: np.ndarray, mask: np.ndarray | None, person: Identity, rng: np.random.Generator, around: bool
) -> None:
    path = _placed(_TOP if around else _LOW_LINE, person)
    if around:
        sides = np.array([(x, y) for x in (3.0, 7.0, 11.0) for y in np.arange(26.0, 72.0, 4.0)])
        path = np.concatenate([moved(path, 0.0, -4.0), sides, mirrored(sides)])
    for x, y in np.repeat(path, 3, axis=0).tolist():
        turn = np.linspace(0, 5.0, 10) + float(rng.uniform(0, 6))
        radius = float(rng.uniform(2.4, 4.6) if around else rng.uniform(1.4, 2.8))
        at_x, at_y = x + float(rng.normal(0, 1.6)), y - 2 + float(rng.normal(0, 1.6))
        ring = np.stack([at_x + radius * np.cos(turn), at_y + radius * np.sin(turn)], 1)
        fill(image, ring, tone(person.hair, 0.85))
        stroke(image, ring, tone(person.hair, round(0.72 + 0.5 * float(rng.random()), 2)), 0.6)
        if mask is not None:
            fill(mask, ring, 255)
            stroke(mask, ring, 255, 0.6)


def _draw_beanie(image: np.ndarray, mask: np.ndarray, person: Identity) -> None:
    rim = _placed(_BEANIE, person)
    cap = np.concatenate([rim, _placed(_CROWN, person)[::-1]])
    fill(image, cap, person.cloth)
    fill(mask, cap, 255)
    for x in np.arange(12.0, 102.0, 3.2).tolist():
        stroke(image, [(x, 46.0 - 0.4 * abs(x - 56)), (56 + (x - 56) * 0.94, -8.0)], tone(person.cloth, 0.88), 0.5)
    fold = moved(rim, 0.0, -10.0)
    stroke(image, fold, tone(person.cloth, 0.6), 1.0)
    stroke(image, moved(fold, 0.0, 1.2), tone(person.cloth, 1.12), 0.6)
    stroke(image, rim, tone(person.cloth, 0.66), 1.0)


def _draw_headscarf(image: np.ndarray, mask: np.ndarray, person: Identity) -> None:
    """Draw cloth around the face, darker near it, with folds from the temples to the chest."""
    half: Edge = [(64, 14), (82, 20), (93, 38), (95, 60), (90, 84), (79, 103), (65, 114)]
    face = curve([*half, *mirrored(half)[::-1].tolist()], 6, closed=True)
    image[:] = tone(person.cloth, 1.04)
    mask[:] = 255
    for step in range(12, -1, -1):
        fill(
            image, (face - [56, 62]) * (1 + 0.045 * step) + [56, 62], tone(person.cloth, round(0.62 + 0.035 * step, 3))
        )
    for fold in _FOLDS:
        for path in (curve(fold, 6), mirrored(curve(fold, 6))):
            stroke(image, path, tone(person.cloth, 0.84), 1.0)
            stroke(image, moved(path, 0.0, 1.2), tone(person.cloth, 1.1), 0.7)
    fill(mask, face, 0)


def _glossy(image: np.ndarray) -> np.ndarray:
    """Return hair that is darker at the sides, with a band of light across the crown."""
    gain = 0.84 + 0.34 * bump(48, 4, 38, 13)
    return cv2.GaussianBlur(cv2.multiply(image, cv2.merge((gain, gain, gain)), dtype=cv2.CV_8U), (3, 3), 0)


def beard_texture(person: Identity, rng: np.random.Generator) -> np.ndarray:
    """Return (SIDE, SIDE, 3) covered with short hair."""
    texture = np.empty((SIDE, SIDE, 3), np.uint8)
    texture[:] = tone(person.hair, 0.8)
    for gloss in (0.55, 0.7, 0.85, 1.0, 1.15, 1.3):
        root = rng.uniform((8, 70), (104, 118), (70, 2))
        lean = 0.05 * (root[:, 0] - 56) + rng.normal(0, 0.6, 70)
        strokes(
            texture, np.stack([root, root + np.stack([lean, np.full(70, 3.0)], 1)], 1), tone(person.hair, gloss), 0.5
        )
    return cv2.GaussianBlur(texture, (3, 3), 0)


def beard_mask(person: Identity, face: np.ndarray, mouth: Mouth, drop: float) -> np.ndarray:
    """Return the mask of the beard in one frame (SIDE, SIDE), 0..255; ``face`` is the outline (n, 2)."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    (left_x, left_y), (right_x, right_y) = mouth.corners.tolist()
    low = float(mouth.lower_outer[:, 1].max())
    if person.beard in ("full", "stubble"):
        _fill_jaw(mask, face, (left_x, left_y, right_x, right_y))
    if person.beard == "goatee":
        chin = person.chin + drop + 2
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
