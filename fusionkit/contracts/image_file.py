"""Reads one image file as a frame: RGB, upright, 8 bits. Data sets and the kernel read with the same eyes."""

from __future__ import annotations

import os

import numpy as np

from fusionkit.contracts.image_header import claimed_pixels, is_image
from fusionkit.errors import DataError

# A frame of a video has a few megapixels, a photo up to a hundred; beyond this a file is broken or hostile.
MAX_PIXELS = 200_000_000
ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


def read_image(path: str | os.PathLike[str]) -> np.ndarray | None:
    """Decode an image file as :func:`load_image` does; None where that has an error to tell."""
    try:
        return load_image(path)
    except DataError:
        return None


def load_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Decode a JPEG, PNG, BMP, WebP or TIFF file; its content decides which, not its name.

    Grey becomes RGB, and so does CMYK. Transparency is dropped, and the stored colours stay; only TIFF's decoder knows
    no other way than to composite them on black. 16 bits become 8 by scaling (65535 becomes 255). The EXIF orientation
    is applied, so faces stand upright (in WebP from OpenCV 4.13 on). Of several pages the first is read.

    Args:
        path: the file.

    Returns:
        RGB uint8 (H, W, 3).

    Raises:
        DataError: where the file is missing, is no image, ends too early, holds floating-point or signed pixels, or
            claims more than ``MAX_PIXELS``, before any of them is decoded.
    """
    return decoded(_bytes(path), os.fspath(path))


def decoded(data: bytes, where: str) -> np.ndarray:
    """Decode the bytes of an image file as :func:`load_image` does.

    Args:
        data: the bytes.
        where: how to name it to a person.

    Raises:
        DataError: if they cannot be decoded, or hold floating-point or signed pixels.
    """
    import cv2

    # IMREAD_UNCHANGED would ignore the orientation; without ANYDEPTH 16 bits would be cut off or rounded by format.
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(f"{where} cannot be decoded")
    if image.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{where} holds {image.dtype} pixels; a frame has 8 or 16 bits without a sign")
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=255 / 65535)
    rgb: np.ndarray = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return rgb


def _bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file whose header promises an image of a decent size.

    Raises:
        DataError: if it does not.
    """
    where = os.fspath(path)
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # a Path an image costs more than opening it
            data = file.read()
    except (OSError, ValueError) as error:  # a name with a NUL byte is no file's
        raise DataError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not data:
        raise DataError(f"{where} is empty")
    if not is_image(data):
        raise DataError(f"{where} is no JPEG, PNG, BMP, WebP or TIFF image")
    pixels = claimed_pixels(data)
    if not pixels:
        raise DataError(f"{where} is cut short or broken")
    if pixels > MAX_PIXELS:
        raise DataError(f"{where} claims {pixels / 1e6:,.0f} megapixels; more than {MAX_PIXELS / 1e6:,.0f} are refused")
    return data
