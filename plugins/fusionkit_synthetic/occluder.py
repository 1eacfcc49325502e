"""Occlusions of a synthetic face: a hand, a medical mask, dark glasses, a strand of hair, a microphone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusionkit_synthetic.action import Pose
from fusionkit_synthetic.canvas import Colour, curve, ellipse, fill, mirrored, mix, moved, stroke, tone
from fusionkit_synthetic.glasses import draw_sunglasses
from fusionkit_synthetic.identity import Identity
from fusionkit_synthetic.motion import wander

KINDS = ("hand", "mask", "sunglasses", "strand", "microphone")
_LOOSE = frozenset({"long", "bob", "side-part", "fringe"})  # styles with a loose strand
_STAYS = frozenset({"mask", "sunglasses"})
MASKS: tuple[Colour, ...] = ((150, 196, 220), (226, 228, 232), (44, 46, 54), (232, 184, 196))


@dataclass(frozen=True)
class Occluder:
    """Occlusion of one clip.

    Attributes:
        kind: one of ``KINDS``, or empty for none.
        side: side of the face: -1 or 1.
        reach: (T,) visible fraction, 0..1.
        drift: (T, 2) px.
        colour: colour of a mask.
    """

    kind: str
    side: int
    reach: np.ndarray
    drift: np.ndarray
    colour: Colour


def draw_occluder(rng: np.random.Generator, person: Identity, length: int, difficulty: float) -> Occluder:
    """Draw the occlusion of one clip; most clips have none."""
    kind = KINDS[int(rng.integers(len(KINDS)))] if rng.random() < 0.3 * difficulty else ""
    if kind == "strand" and person.hair_style not in _LOOSE:
        kind = "hand"
    side = 1 if rng.random() < 0.5 else -1
    drift = np.stack([wander(rng, length, 6.0), wander(rng, length, 6.0)], 1)
    reach = np.ones(length)
    if kind not in _STAYS:
        t = np.arange(length)
        middle, half = float(rng.uniform(0.15, 0.85)) * length, float(rng.uniform(0.15, 0.5)) * length
        reach = np.clip((half - np.abs(t - middle)) / 3.0 + 1.0, 0.0, 1.0)
    return Occluder(kind, side, reach, drift, MASKS[int(rng.integers(len(MASKS)))])


def draw_occlusion(image: np.ndarray, person: Identity, occluder: Occluder, frame: int, pose: Pose) -> None:
    """Draw the occlusion of one frame over a canvas."""
    reach = float(occluder.reach[frame])
    if not occluder.kind or reach <= 0.0:
        return
    dx, dy = occluder.drift[frame].tolist()
    if occluder.kind == "mask":
        _draw_mask(image, person, occluder.colour, pose.near(1.0))
    elif occluder.kind == "sunglasses":
        draw_sunglasses(image, person, pose.near(0.6))
    elif occluder.kind == "strand":
        _draw_strand(image, person, occluder.side, dx)
    elif occluder.kind == "microphone":
        _draw_microphone(image, occluder.side, (dx, dy + 34 * (1 - reach)))
    else:
        _draw_hand(image, person, occluder.side, (dx + 18 * occluder.side * (1 - reach), dy + 44 * (1 - reach)))


def _sided(points: Sequence[tuple[float, float]], side: int, offset: tuple[float, float]) -> np.ndarray:
    placed = np.array(points, dtype=np.float64)
    return (placed if side > 0 else mirrored(placed)) + offset


def _draw_hand(image: np.ndarray, person: Identity, side: int, offset: tuple[float, float]) -> None:
    """Draw four fingers over cheek and mouth, with palm and wrist below."""
    skin, edge = tone(person.skin, 0.97), tone(person.skin, 0.6)
    palm = [(66, 100), (80, 90), (98, 92), (110, 108), (112, 130), (74, 130), (66, 112)]
    fill(image, curve(_sided(palm, side, offset), 4, closed=True), edge)
    inner = curve(_sided(palm, side, offset), 4, closed=True)
    fill(image, (inner - inner.mean(0)) * 0.96 + inner.mean(0), skin)
    fingers = [
        [(74, 108), (60, 99), (44, 95)],
        [(77, 101), (61, 90), (42, 85)],
        [(83, 97), (68, 83), (50, 75)],
        [(92, 96), (80, 82), (66, 71)],
    ]
    for finger in fingers:
        path = curve(_sided(finger, side, offset), 5)
        stroke(image, path, edge, 8.6)
        stroke(image, path, skin, 7.6)
        tip = path[-1] + [-1.2 * side, -0.4]
        ellipse(image, (float(tip[0]), float(tip[1])), (1.9, 2.4), mix(skin, (255, 214, 206), 0.5), 60 * side)


def _draw_mask(image: np.ndarray, person: Identity, colour: Colour, offset: tuple[float, float]) -> None:
    half = [(56.0, 63.0), (68.0, 67.5), (84.0, 74.0), (87.0, 88.0), (80.0, 104.0), (66.0, 113.0), (56.0, 115.0)]
    right = curve(half, 4)
    shape = np.concatenate([right, mirrored(right)[::-1]]) + offset
    for side, y in ((-1, 74.0), (-1, 98.0), (1, 74.0), (1, 98.0)):
        strap = [(56 + 30.0 * side, y), (56 + side * (person.cheek + 3), 66.0 + 0.12 * (y - 66))]
        stroke(image, np.array(strap) + offset, tone(colour, 0.94), 0.8)
    fill(image, shape, tone(colour, 0.95))
    ridge = curve([(50, 64), (54, 78), (56, 96), (58, 78), (62, 64)], 4) + offset
    fill(image, ridge, tone(colour, 1.06))
    for y in (80.0, 89.0, 98.0):
        pleat = curve([(30, y - 2), (56, y + 1.5), (82, y - 2)], 6) + offset
        stroke(image, pleat, tone(colour, 0.8), 0.7)
    stroke(image, shape[2:-2], tone(colour, 0.76), 0.7)


def _draw_strand(image: np.ndarray, person: Identity, side: int, sway: float) -> None:
    outer = [(72, -6), (84, 14), (87, 40), (84 + sway, 66), (76 + 1.6 * sway, 86)]
    inner = [(58, -6), (65, 16), (67, 40), (70 + sway, 64), (75 + 1.6 * sway, 86)]
    first, second = (curve(_sided(edge, side, (0, 0)), 5) for edge in (outer, inner))
    fill(image, np.concatenate([first, second[::-1]]), tone(person.hair, 0.9))
    for step in range(1, 8):
        line = first * (step / 8) + second * (1 - step / 8)
        stroke(image, line, tone(person.hair, 0.7 + 0.16 * (step % 4)), 0.5)


def _draw_microphone(image: np.ndarray, side: int, offset: tuple[float, float]) -> None:
    handle = _sided([(64, 104), (92, 128)], side, offset)
    stroke(image, handle, (34, 34, 38), 7.0)
    stroke(image, moved(handle, 0.8 * side, -0.8), (92, 92, 98), 1.2)
    x, y = _sided([(60, 100)], side, offset)[0].tolist()
    ellipse(image, (x, y), (10, 10), (48, 48, 54))
    ellipse(image, (x - 2.5, y - 3), (5.5, 5), (78, 78, 86))
    for step in (-6.0, -2.0, 2.0, 6.0):
        stroke(image, [(x - 8, y + step), (x + 8, y + step - 2)], (62, 62, 68), 0.5)
