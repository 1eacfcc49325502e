"""The aligned crop of a face."""

from __future__ import annotations

import numpy as np

from fusionkit.contracts.extractor import SIDE, Face


def aligned(image: np.ndarray, face: Face, side: int = SIDE) -> np.ndarray:
    """A face turned upright, scaled and cut so that its five points lie on the ArcFace template.

    Below a third of the frame's scale, the frame is first made smaller by a whole factor, pixels averaged: sampling
    alone would skip most of them. What lies outside of the frame is black.

    Args:
        image: RGB uint8 (H, W, 3).
        face: found in it, with points that :meth:`Face.to_template` can use.
        side: of the crop in px; the template grows with it.

    Returns:
        (side, side, 3) uint8.

    Raises:
        ValueError: if the points do not tell where the face is.

    Reference: insightface's ``face_align.norm_crop`` (Deng et al. 2019, arXiv:1801.07698).
    """
    import cv2

    similarity = face.to_template()
    if similarity is None:
        raise ValueError("a face without five usable points cannot be aligned")
    matrix = rescaled(similarity, side / SIDE)
    shrink = int(1 / np.sqrt(np.linalg.det(matrix[:, :2])) / 1.5)
    if shrink > 1:
        height, width = (length // shrink * shrink for length in image.shape[:2])
        if height and width:
            size = (width // shrink, height // shrink)
            image = cv2.resize(image[:height, :width], size, interpolation=cv2.INTER_AREA)
            # The centre of pixel k of the smaller frame is that of (k + 0.5) * shrink - 0.5.
            matrix[:, 2] += matrix[:, :2] @ np.full(2, 0.5 * shrink - 0.5)
            matrix[:, :2] *= shrink
    crop: np.ndarray = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return crop


def rescaled(similarity: np.ndarray, scale: float) -> np.ndarray:
    """The similarity to a template that is larger by a factor: centres of pixels move, edges scale."""
    out = similarity * scale
    out[:, 2] += 0.5 * scale - 0.5
    return out
