"""Facial action units of the drawn face, their intensities on both sides, and the pose of the head.

Reference: P. Ekman, W. V. Friesen, J. C. Hager, Facial Action Coding System, 2002.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 23, 24, 25, 26, 38, 43)
COLUMN = {unit: column for column, unit in enumerate(UNITS)}
LEFT, RIGHT = 0, 1  # of the image

Side = dict[int, float]


@dataclass(frozen=True)
class Pose:
    """Direction of head and eyes, in -1..1, and position of the frame on the face.

    ``yaw`` and ``pitch`` move near features against far ones; ``shift`` (px), ``turn`` (degrees) and ``zoom`` move all.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    shift: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    zoom: float = 1.0

    def near(self, depth: float) -> tuple[float, float]:
        """Return the shift (px) of a feature that is ``depth`` px in front of the plane of the outline."""
        return self.yaw * depth, self.pitch * depth


def sides(intensity: np.ndarray) -> tuple[Side, Side]:
    """Convert intensities (2, A) in 0..1 to one mapping from unit to intensity per side."""
    left, right = (dict(zip(UNITS, row, strict=True)) for row in intensity.tolist())
    return left, right


def actions(left: dict[int, float], right: dict[int, float] | None = None) -> np.ndarray:
    """Return intensities (2, A) of the named units; symmetric if only one side is given."""
    intensity = np.zeros((2, len(UNITS)))
    for side, named in enumerate((left, left if right is None else right)):
        for unit, value in named.items():
            intensity[side, COLUMN[unit]] = value
    return intensity
