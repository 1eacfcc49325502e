"""Drawn faces whose five points are dots of colour, and a detector that finds them: no model, no photo."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import cv2
import numpy as np

from fusionkit.contracts import Face
from fusionkit.contracts.extractor import TEMPLATE, Choice
from fusionkit.registry import EXTRACTORS
from fusionkit_faces.detector import Detector

SKIN, HAIR = (225, 185, 150), (70, 45, 30)
# Left eye, right eye, nose, left and right corner of the mouth.
DOTS = ((220, 0, 0), (0, 180, 0), (0, 0, 230), (230, 220, 0), (220, 0, 220))
_NEAR = 70  # by which a channel may differ after compression


def place(x: float, y: float, scale: float = 1.0, roll: float = 0.0) -> np.ndarray:
    """The similarity (2, 3) from the 112 px template to a frame: centre in px, scale, degrees clockwise."""
    turn = scale * complex(math.cos(math.radians(roll)), math.sin(math.radians(roll)))
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, np.array([x, y]) - linear @ (55.5, 60.0)])


def moved(points: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """Points (K, 2) under a similarity (2, 3)."""
    return np.asarray(points @ similarity[:, :2].T + similarity[:, 2])


def draw_face(frame: np.ndarray, similarity: np.ndarray, mood: float = 1.0) -> np.ndarray:
    """Draw one face into a frame, and give its five points; ``mood`` bends the mouth, -1 down to 1 up."""
    scale = math.sqrt(np.linalg.det(similarity[:, :2]))

    def at(x: float, y: float) -> tuple[int, int]:
        x, y = moved(np.array([[x, y]]), similarity)[0]
        return round(x * 16), round(y * 16)

    def disc(centre: tuple[float, float], radius: float, colour: tuple[int, ...]) -> None:
        cv2.circle(frame, at(*centre), round(radius * scale * 16), colour, -1, cv2.LINE_AA, 4)

    disc((55.5, 52), 56, HAIR)
    disc((55.5, 66), 48, SKIN)
    mouth = [at(55.5 + 14 * x, 92 + mood * 9 * (1 - x * x)) for x in np.linspace(-1, 1, 9)]
    cv2.polylines(frame, [np.array(mouth)], False, (120, 40, 40), max(round(3 * scale), 1), cv2.LINE_AA, 4)
    for (x, y), colour in zip(TEMPLATE, DOTS, strict=True):
        disc((x, y), 5, colour)
    return moved(TEMPLATE, similarity)


def frame_of(*faces: np.ndarray, height: int = 240, width: int = 320, mood: float = 1.0) -> np.ndarray:
    """A grey frame with faces at these similarities."""
    frame = np.full((height, width, 3), 128, np.uint8)
    for similarity in faces:
        draw_face(frame, similarity, mood)
    return frame


class Dots(Detector):
    """Finds drawn faces by the colours of their dots.

    Args:
        face: as for detectors.
        layout: as for detectors.

    Reference: own drawing.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def __init__(self, face: Choice = "largest", layout: Literal["emotic", "arcface"] = "emotic") -> None:
        super().__init__(face, layout, None)

    def faces(self, frame: np.ndarray) -> list[Face]:
        seen = [_centres(frame, colour) for colour in DOTS]
        if not all(len(centres) for centres in seen):
            return []
        found = []
        for eye in seen[0]:
            points = np.array([eye, *(min(own, key=lambda point: math.dist(point, eye)) for own in seen[1:])])
            size = 1.6 * math.dist(points[0], points[1])
            middle = points.mean(axis=0)
            found.append(Face(np.concatenate([middle - size, middle + size]), 0.9, points))
        return found


def _centres(frame: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    low, high = (np.clip(np.add(colour, by), 0, 255) for by in (1 - _NEAR, _NEAR - 1))
    mask = cv2.inRange(frame, low, high)
    _, _, stats, centres = cv2.connectedComponentsWithStats(mask)
    return np.asarray(centres[1:][stats[1:, cv2.CC_STAT_AREA] > 8])


def register() -> None:
    """Make the detector known as ``dots`` until the test is over."""
    EXTRACTORS.register_module("dots", force=True)(Dots)
