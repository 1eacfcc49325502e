"""Copy a region of one face into another, with matched colour and a soft edge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

_LAB_NOISE = 1e-3  # below this standard deviation a patch has no contrast to scale


@dataclass(frozen=True, eq=False)
class BoxedFace:
    """A face and a box in it.

    Attributes:
        image: RGB uint8 (H, W, 3).
        box: (5,) centre x, centre y, width, height in px, angle in degrees, clockwise on screen.
    """

    image: np.ndarray
    box: np.ndarray


def swap_region(receiver: BoxedFace, donor: BoxedFace, feather: float) -> np.ndarray:
    """Return the receiver's image with the content of the donor's box in its own box.

    The content is warped to the position, size and angle of the receiver's box, and gets its mean and standard
    deviation in CIE Lab, per channel. Pixels outside the receiver's box do not change.

    Args:
        receiver: the face that gets a region.
        donor: the face that the region is taken from.
        feather: width of the soft edge, as a fraction of the box's shorter side, 0..0.5.

    Returns:
        RGB uint8, of the receiver's shape.

    Reference: E. Reinhard et al., Color Transfer between Images, IEEE CG&A 2001: statistics are matched as there, in
    CIE Lab where they use l-alpha-beta (our reading: OpenCV has the first).
    """
    alpha = soft_mask(receiver.image.shape[:2], receiver.box, feather)
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    if not len(rows):
        return receiver.image
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    left_top = np.array([window[1].start, window[0].start], np.float64)
    own = receiver.image[window]
    inside = box_mask(receiver.image.shape[:2], receiver.box, 0.0)[window]
    warped: np.ndarray = cv2.warpAffine(
        donor.image,
        _to_donor(receiver.box, donor.box, left_top),
        (own.shape[1], own.shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    part = alpha[window][..., None]
    mixed = part * match_colour(warped, own, inside) + (1 - part) * own
    out = receiver.image.copy()
    out[window] = np.where(part > 0, np.rint(mixed), own).astype(np.uint8)
    return out


def match_colour(image: np.ndarray, like: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return an image with the mean and standard deviation of another's Lab channels, computed inside a mask.

    Args:
        image: RGB uint8 (h, w, 3).
        like: RGB uint8 (h, w, 3).
        inside: (h, w) bool, the mask.

    Returns:
        RGB float32 in 0..255.
    """
    lab, other = _lab(image), _lab(like)
    mean, spread = lab[inside].mean(0), lab[inside].std(0)
    new_mean, new_spread = other[inside].mean(0), other[inside].std(0)
    scale = np.where(spread > _LAB_NOISE, new_spread / np.maximum(spread, _LAB_NOISE), 1.0)
    rgb: np.ndarray = cv2.cvtColor(((lab - mean) * scale + new_mean).astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.clip(rgb, 0.0, 1.0) * 255.0


def soft_mask(shape: tuple[int, ...], box: np.ndarray, feather: float) -> np.ndarray:
    """Return (H, W) float32: 1 inside the box, falling smoothly to 0 at its edge, 0 outside."""
    radius = round(feather * float(min(box[2], box[3])) / 2)  # half the width of the soft edge, in whole px
    hard = box_mask(shape, box, float(radius)).astype(np.float32)
    if not radius:
        return hard
    size = 2 * radius + 1  # of a kernel that reaches from the edge of the shrunk box to that of the box
    blurred: np.ndarray = cv2.GaussianBlur(hard, (size, size), radius / 2, borderType=cv2.BORDER_CONSTANT)
    blurred[blurred > 1 - 1e-5] = 1
    # The corners of the square kernel reach beyond a rotated box, with weights near 0.
    return np.where(box_mask(shape, box, 0.0), blurred, np.float32(0))


def box_mask(shape: tuple[int, ...], box: np.ndarray, margin: float) -> np.ndarray:
    """Return (H, W) bool: pixels whose centres are in the box, at least ``margin`` px from its edges."""
    x, y, width, height, angle = (float(value) for value in box)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    down, right = np.ogrid[: shape[0], : shape[1]]
    right, down = right + (0.5 - x), down + (0.5 - y)
    wide = np.abs(right * cos + down * sin) <= width / 2 - margin
    high: Any = np.abs(down * cos - right * sin) <= height / 2 - margin
    mask: np.ndarray = wide & high
    return mask


def _to_donor(receiver: np.ndarray, donor: np.ndarray, left_top: np.ndarray) -> np.ndarray:
    """Return the (2, 3) map from a pixel of the window at ``left_top`` of the receiver to its position in the donor."""
    turn = _axes(donor) @ np.diag(donor[2:4] / receiver[2:4]) @ _axes(receiver).T
    # The centre of a pixel is half a pixel from its index, in both images.
    shift = donor[:2] - 0.5 - turn @ (receiver[:2] - 0.5 - left_top)
    return np.column_stack([turn, shift]).astype(np.float64)


def _axes(box: np.ndarray) -> np.ndarray:
    """Return (2, 2): the axes of the box as columns."""
    cos, sin = math.cos(math.radians(float(box[4]))), math.sin(math.radians(float(box[4])))
    return np.array([[cos, -sin], [sin, cos]])


def _lab(image: np.ndarray) -> np.ndarray:
    lab: np.ndarray = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab.astype(np.float64)
