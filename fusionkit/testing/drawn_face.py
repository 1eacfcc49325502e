"""Frames with a drawn face, for extractors that find regions by the content of a frame."""

from __future__ import annotations

from functools import cache

import numpy as np

from fusionkit.registry import DATASETS
from fusionkit.testing.case import Skipped

SIDE = 112
LEFT, TOP, WIDTH, HEIGHT = 36, 20, 192, 160  # px: corner of the face's square, size of the frame
_GREY = 128
_SPEC = "synthetic:train=8,val=8,test=8,clips=1,clip_length=6,difficulty=0.0,noise=0.0,missing=0.0"


def frame_with_a_face(
    *, scale: float = 1, stretch: float = 1, turn: float = 0, right: int = 0, down: int = 0
) -> np.ndarray:
    """Return a frame with one upright face, RGB uint8 (HEIGHT, WIDTH, 3) before it is scaled.

    Args:
        scale: factor of width and height.
        stretch: further factor of the width.
        turn: rotation about the centre of the face in degrees, clockwise on the screen.
        right: grey columns that are added on the left: the face moves right by as many pixels.
        down: grey rows that are added at the top.

    Raises:
        Skipped: if the data set ``synthetic`` of fusionkit is not installed.
    """
    import cv2

    frame = _frame()
    if turn:
        centre = (LEFT + SIDE / 2, TOP + SIDE / 2)
        matrix = cv2.getRotationMatrix2D(centre, -turn, 1.0)
        frame = cv2.warpAffine(frame, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderValue=[_GREY] * 3)
    if scale != 1 or stretch != 1:
        size = (round(WIDTH * scale * stretch), round(HEIGHT * scale))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(frame, down, 0, right, 0, cv2.BORDER_CONSTANT, value=[_GREY] * 3)


@cache
def _frame() -> np.ndarray:
    """Return a drawn face within an ellipse on grey."""
    import cv2

    if "synthetic" not in DATASETS.names():
        raise Skipped(
            "it depends on the content of the frame, and the data set synthetic, which draws faces, is missing"
        )
    face = DATASETS.build(_SPEC).read(np.array([0]))[0]
    ellipse = np.zeros((SIDE, SIDE), np.float32)
    cv2.ellipse(ellipse, (SIDE // 2, SIDE // 2 + 4), (44, 52), 0, 0, 360, [1.0], -1)
    share = cv2.GaussianBlur(ellipse, (0, 0), 1.5)[..., None]
    frame = np.full((HEIGHT, WIDTH, 3), _GREY, np.uint8)
    frame[TOP : TOP + SIDE, LEFT : LEFT + SIDE] = np.rint(share * face + (1 - share) * _GREY)
    return frame
