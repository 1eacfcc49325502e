"""The part of a frame around its regions, where they would be too small to be seen in the whole."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_ROOM = 2.2  # the side of the picture, in sizes of all that was found
_SMALL = 0.66  # of the frame's shorter side: a larger square shows little more than the frame does


def close_up(
    frame: np.ndarray, boxes: Mapping[str, np.ndarray], landmarks: np.ndarray | None
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None] | None:
    """A square around all regions, and where they are in it.

    Args:
        frame: RGB uint8 (H, W, 3).
        boxes: (5,) by region, NaN where not found.
        landmarks: (K, 2), NaN where not found.

    Returns:
        The square (S, S, 3), black outside of the frame, boxes and landmarks; None where nothing was found.
    """
    found = np.array([box for box in boxes.values() if np.isfinite(box).all()]).reshape(-1, 5)
    if not len(found):
        return None
    reach = np.hypot(found[:, 2], found[:, 3]).max() / 2
    low, high = found[:, :2].min(0) - reach, found[:, :2].max(0) + reach
    side = max(round(float((high - low).max()) * _ROOM / 2), 8)
    left, top = np.rint((low + high) / 2 - side / 2).astype(int).tolist()
    square = np.zeros((side, side, 3), np.uint8)
    part = frame[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    square[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] = part
    corner = np.array([left, top])
    moved = {name: np.concatenate([box[:2] - corner, box[2:]]) for name, box in boxes.items()}
    return square, moved, None if landmarks is None else landmarks - corner


def is_small(square: np.ndarray, frame: np.ndarray) -> bool:
    """Whether a close-up shows more than the frame that it was taken from."""
    return bool(square.shape[0] < _SMALL * min(frame.shape[:2]))
