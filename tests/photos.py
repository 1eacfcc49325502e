"""Photos that come with installed packages, and models that lie beside the repository where somebody put them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

SHARED = Path(__file__).parents[2] / "shared"
YUNET = SHARED / "models/yunet_n_640_640.onnx"
needs_yunet = pytest.mark.skipif(not YUNET.is_file(), reason=f"needs the YuNet model, {YUNET}")


def astronaut() -> np.ndarray:
    """One face, 90 px wide, that leans 6 degrees to the right. RGB (512, 512, 3)."""
    from skimage import data

    return np.asarray(data.astronaut())


def friends() -> np.ndarray:
    """Six faces, some of them leaning by 20 degrees. RGB (886, 1280, 3)."""
    spec = find_spec("insightface")
    assert spec is not None, "insightface comes with the extra 'test'"
    assert spec.origin is not None
    image = cv2.imread(str(Path(spec.origin).parent / "data/images/t1.jpg"))
    assert image is not None
    return np.ascontiguousarray(image[..., ::-1])


def warped(image: np.ndarray, degrees: float, scale: float, shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """A photo turned clockwise about its centre, scaled and shifted in a frame that holds all of it."""
    height, width = image.shape[:2]
    side = round(np.hypot(height, width) * scale) + 2 * round(max(map(abs, shift)))
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), -degrees, scale)
    matrix[:, 2] += side / 2 - np.array([width, height]) / 2 + shift
    area = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    if scale < 1:  # warpAffine would skip pixels
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=area)
        return warped(small, degrees, 1.0, shift)
    return cv2.warpAffine(image, matrix, (side, side), flags=area, borderValue=(128, 128, 128))
