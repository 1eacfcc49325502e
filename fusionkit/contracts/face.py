"""A face as a detector finds it, and the similarity that brings its five points onto the ArcFace template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

SIDE = 112
"""Side of an aligned face in px."""

# Where the eyes, the tip of the nose and the corners of the mouth are in it, the eye on the picture's left first.
TEMPLATE: Final = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)

Choice = Literal["largest", "central", "left", "right"]
CHOICES: Final[tuple[Choice, ...]] = ("largest", "central", "left", "right")


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a frame, in its pixels; the centre of the first pixel is (0, 0).

    Attributes:
        box: (4,) left, top, right, bottom.
        score: in 0..1.
        points: (5, 2) x, y of the left eye, the right eye, the tip of the nose, the left and the right corner of the
            mouth. Left is left as seen in a picture of an upright face.
        landmarks: (K, 2) more points; None where the detector has none.
    """

    box: np.ndarray
    score: float
    points: np.ndarray
    landmarks: np.ndarray | None = None

    def to_template(self) -> np.ndarray | None:
        """The similarity from the frame to the aligned face, as ``cv2.warpAffine`` takes it.

        It has the least squared distance of the five points to the template's: the closed form of Umeyama in two
        dimensions, where a similarity is one complex factor and one complex shift.

        Returns:
            (2, 3) float64; None where the points do not tell (they coincide or are not finite).

        Reference: S. Umeyama, Least-Squares Estimation of Transformation Parameters Between Two Point Patterns, TPAMI
        1991; template and use as in insightface's ``face_align.norm_crop`` (Deng et al. 2019, arXiv:1801.07698).
        """
        points = np.asarray(self.points, np.float64)
        if not np.isfinite(points).all():
            return None
        given, wanted = (side[:, 0] + 1j * side[:, 1] for side in (points, TEMPLATE))
        start, end = given.mean(), wanted.mean()
        spread = float((np.abs(given - start) ** 2).sum())
        factor = ((given - start).conj() * (wanted - end)).sum() / spread if 0 < spread < np.inf else 0j
        if not np.isfinite(factor) or abs(factor) < 1e-9:
            return None
        shift = end - factor * start
        return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def choose(faces: Sequence[Face], which: Choice, width: int, height: int) -> Face | None:
    """One face of a frame of several: the largest, that nearest to the frame's centre, the leftmost or rightmost.

    Raises:
        ValueError: if ``which`` is none of these.
    """
    if which not in CHOICES:
        raise ValueError(f"{which!r} is none of {', '.join(CHOICES)}")
    if not faces:
        return None
    boxes = np.array([face.box for face in faces], np.float64)
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    worth = {
        "largest": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        "central": -np.hypot(x - width / 2, y - height / 2),
        "left": -x,
        "right": x,
    }
    return faces[int(np.argmax(worth[which]))]
