"""Views brought to the size that a backbone takes: one way for all that embed, train or predict."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.backbone import Interpolation

_FLAGS: dict[Interpolation, int] = {"nearest": 0, "linear": 1, "cubic": 2, "area": 3, "lanczos": 4}  # as OpenCV's


def resized(view: np.ndarray, size: tuple[int, int], interpolation: Interpolation) -> np.ndarray:
    """A view, its aspect ratio not kept.

    Args:
        view: RGB uint8 (h, w, 3).
        size: height and width in pixels.
        interpolation: as the backbone's contract names it.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    found: np.ndarray = cv2.resize(view, size[::-1], interpolation=_FLAGS[interpolation])
    return found
