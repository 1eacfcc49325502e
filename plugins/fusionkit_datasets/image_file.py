"""Reads one image file as RGB, or says that it cannot be read."""

from __future__ import annotations

import os

import cv2
import numpy as np

from fusionkit_datasets.image_header import claimed_pixels

# A frame of a video has a few megapixels, a photo up to a hundred; beyond this a file is broken or hostile.
MAX_PIXELS = 200_000_000


def read_image(path: str | os.PathLike[str]) -> np.ndarray | None:
    """Decode a JPEG, PNG, BMP, WebP or TIFF file; its content decides which, not its name.

    Grey becomes RGB. Transparency is dropped, and the stored colours stay; only TIFF's decoder knows no other way than
    to composite them on black. 16 bits become 8 by scaling (65535 becomes 255). The EXIF orientation is applied, so
    faces stand upright (in WebP from OpenCV 4.13 on). Of several pages the first is read.

    Args:
        path: the file.

    Returns:
        RGB uint8 (H, W, 3); or None where the file is missing, is no image, ends too early, holds floating-point or
        signed pixels, or claims more than ``MAX_PIXELS``.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # a Path an image costs more than opening it
            data = file.read()
    except OSError:
        return None
    pixels = claimed_pixels(data)
    if not pixels or pixels > MAX_PIXELS:
        return None
    # IMREAD_UNCHANGED would ignore the orientation; without ANYDEPTH 16 bits would be cut off or rounded by format.
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        return None
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=255 / 65535)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
