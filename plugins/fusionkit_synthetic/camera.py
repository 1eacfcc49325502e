"""Conversion of a drawn canvas to a frame: pose in the plane, light, focus and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np

from fusionkit_synthetic.action import Pose
from fusionkit_synthetic.canvas import MARGIN, SCALE, SIDE, SIZE

_TILE = 160


@dataclass(frozen=True)
class Camera:
    """Camera of one clip of T frames.

    Attributes:
        light: (3, 3, 3) gain per position in the frame and colour channel.
        focus: (T,) standard deviation of the blur in px; 0 is sharp.
        detail: fraction of the resolution that is kept, 0..1.
        noise: standard deviation of the sensor noise, in grey levels.
        grain: (T, 2) corner of each frame's window in the noise image.
    """

    light: np.ndarray
    focus: np.ndarray
    detail: float
    noise: float
    grain: np.ndarray


def draw_camera(rng: np.random.Generator, length: int, difficulty: float, noise: float) -> Camera:
    """Draw the camera of one clip; ``noise`` scales the sensor noise."""
    bright = 1.0 + 0.34 * difficulty * float(rng.uniform(-1, 0.5))
    across, down = (float(value) for value in rng.normal(0.0, 0.3 * difficulty, 2))
    ramp = np.array([-1.0, 0.0, 1.0])
    field = bright * (1 + np.clip(across, -0.5, 0.5) * ramp[None, :] + 0.6 * np.clip(down, -0.5, 0.5) * ramp[:, None])
    warmth = 0.06 * difficulty * float(rng.normal())
    light = field[..., None] * np.array([1 + warmth, 1.0, 1 - warmth])
    soft = float(rng.random()) < 0.6 * difficulty
    focus = np.full(length, float(rng.uniform(0.4, 0.5 + 0.7 * difficulty)) if soft else 0.0)
    # errors of the autofocus: single frames are blurred more than the others
    focus += np.where(rng.random(length) < 0.3 * difficulty, rng.uniform(0.5, 1.2, length), 0.0)
    detail = float(rng.uniform(0.45, 0.8)) if rng.random() < 0.3 * difficulty else 1.0
    level = noise * float(rng.uniform(2.0, 9.0))
    return Camera(light.astype(np.float32), focus, detail, level, rng.integers(0, _TILE - SIZE, (length, 2)))


def film(canvas: np.ndarray, camera: Camera, number: int, pose: Pose) -> np.ndarray:
    """Convert a canvas to the frame (SIZE, SIZE, 3) with index ``number`` in its clip."""
    small = cv2.resize(canvas, (SIDE // SCALE, SIDE // SCALE), interpolation=cv2.INTER_AREA)
    frame = cv2.warpAffine(small, _affine(pose), (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    frame = cv2.multiply(frame, _light(camera.light.tobytes()), dtype=cv2.CV_8U)
    if camera.detail < 1.0:
        side = round(SIZE * camera.detail)
        frame = cv2.resize(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA), (SIZE, SIZE))
    focus = float(camera.focus[number])
    if focus > 0.0:
        frame = cv2.GaussianBlur(frame, (5, 5), focus)
    return _noisy(frame, camera.noise, camera.grain[number]) if camera.noise > 0 else frame


@lru_cache(maxsize=8)
def _light(corners: bytes) -> np.ndarray:
    """Return the light at every pixel; cached, since frames of one clip are usually read in a row."""
    small = np.frombuffer(corners, np.float32).reshape(3, 3, 3)
    return cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def _affine(pose: Pose) -> np.ndarray:
    """Return the affine map from the canvas to the frame, about the centre of the face."""
    centre = SIZE / 2 + MARGIN
    matrix = cv2.getRotationMatrix2D((centre, centre), pose.turn, pose.zoom)
    matrix[:, 2] += np.array(pose.shift) - MARGIN
    return np.round(matrix, 6)


@cache
def _grains() -> np.ndarray:
    """Return one noise image for all frames, with 16 levels per standard deviation; a frame uses a window of it."""
    rng = np.random.Generator(np.random.PCG64(112))
    sheet = rng.normal(0.0, 16.0, (_TILE, _TILE, 3)) * 0.8 + rng.normal(0.0, 16.0, (_TILE, _TILE, 1)) * 0.6
    return np.rint(sheet).astype(np.int16)


def _noisy(frame: np.ndarray, level: float, corner: np.ndarray) -> np.ndarray:
    y, x = corner.tolist()
    window = _grains()[y : y + SIZE, x : x + SIZE]
    return cv2.add(frame, (window * round(level * 16)) >> 8, dtype=cv2.CV_8U)
