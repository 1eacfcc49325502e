"""Contract of a region extractor: it locates regions of a face; the kernel cuts them out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.contracts.inputs import WatchedFrames, errors_of, input_changed, read_only
from fusionkit.errors import PluginError

SIDE = 112
"""Side of an aligned face in px."""

# Eyes, tip of the nose and corners of the mouth in an aligned face (x, y in px), the eye on the picture's left first.
TEMPLATE: Final = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)

Choice = Literal["largest", "central", "left", "right"]
CHOICES: Final[tuple[Choice, ...]] = ("largest", "central", "left", "right")


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a frame, in pixels; the centre of the first pixel is (0, 0).

    Attributes:
        box: (4,) left, top, right, bottom.
        score: confidence in 0..1.
        points: (5, 2) x, y of left eye, right eye, tip of the nose, left and right corner of the mouth. Left is the
            left side of a picture of an upright face.
        landmarks: (K, 2) more points; None if the detector has none.
    """

    box: np.ndarray
    score: float
    points: np.ndarray
    landmarks: np.ndarray | None = None

    def to_template(self) -> np.ndarray | None:
        """Return the similarity transform from the frame to the aligned face, as ``cv2.warpAffine`` needs it.

        It minimises the squared distance of the five points to the template: Umeyama's closed form in two dimensions,
        where a similarity is one complex factor and one complex shift.

        Returns:
            (2, 3) float64; None if the points do not determine it (they coincide or are not finite).

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
    """Return one of several faces: the largest, the one nearest to the frame's centre, the leftmost or rightmost.

    Raises:
        ValueError: if ``which`` is not one of these.
    """
    if which not in CHOICES:
        raise ValueError(f"{which!r} must be one of: {', '.join(CHOICES)}")
    if not faces:
        return None
    boxes = np.array([face.box for face in faces], np.float64)
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    scores = {
        "largest": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        "central": -np.hypot(x - width / 2, y - height / 2),
        "left": -x,
        "right": x,
    }
    return faces[int(np.argmax(scores[which]))]


@dataclass(frozen=True, eq=False)
class Located:
    """Boxes of R regions in N frames.

    Attributes:
        boxes: (N, R, 5) float32: centre x, centre y, width, height in pixels of the frame, and the box's rotation in
            degrees, clockwise on the screen. A row of NaN: not found.
        score: (N, R) float32 in 0..1: confidence; 0 if not found.
        landmarks: (N, K, 2) float32 x, y in pixels, NaN if not found; None for an extractor without landmarks.
    """

    boxes: np.ndarray
    score: np.ndarray
    landmarks: np.ndarray | None = None


class Extractor(Component, ABC):
    """Locates the regions of faces."""

    kind: ClassVar[str] = "extractor"

    @property
    @abstractmethod
    def regions(self) -> tuple[str, ...]:
        """The names of the R regions it can locate, in the order of the boxes."""

    @property
    def aligned_note(self) -> str:
        """A warning, one line, for frames that are crops aligned to the ArcFace template; empty if the boxes fit."""
        return ""

    @abstractmethod
    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        """Locate every region in every frame.

        Args:
            frames: N images, RGB uint8 (H, W, 3), read-only; sizes may differ.
        """

    def faces(self, frame: np.ndarray) -> list[Face]:
        """Detect every face of one frame, the highest score first. Optional; ``fusionkit align`` needs it.

        Args:
            frame: RGB uint8 (H, W, 3), read-only.

        Raises:
            PluginError: if the extractor does not detect faces.
        """
        raise PluginError(f"extractor {type(self).__name__} does not detect faces")

    @property
    def finds_faces(self) -> bool:
        """Whether :meth:`faces` is implemented."""
        return type(self).faces is not Extractor.faces

    # -- what the kernel calls -------------------------------------------------------------------------------------

    def detect(self, frame: np.ndarray) -> list[Face]:
        """Call :meth:`faces` and check its result. Leave out faces without a valid box or points to align them by.

        Raises:
            PluginError: if the extractor fails or changes the frame, or the shapes break the contract.
        """
        name = type(self).__name__
        usable = []
        with self._given([frame]) as (given,):
            found = self.faces(given)
        for face in found:
            if not isinstance(face, Face):
                raise PluginError(f"extractor {name} gave {type(face).__name__} as a face, not Face")
            box, points = np.asarray(face.box, np.float64), np.asarray(face.points, np.float64)
            if box.shape != (4,) or points.shape != (5, 2):
                raise PluginError(
                    f"extractor {name} gave a face with box {box.shape} and points {points.shape}; "
                    "expected (4,) and (5, 2)"
                )
            if np.isfinite(box).all() and (box[2:] > box[:2]).all() and face.to_template() is not None:
                usable.append(Face(box, float(face.score), points, face.landmarks))
        return usable

    def __call__(self, frames: Sequence[np.ndarray]) -> Located:
        """Call :meth:`locate` and check its result. A box without area or not finite becomes a row of NaN with score 0.

        Raises:
            PluginError: if the extractor fails or changes a frame, or the shapes break the contract.
        """
        name = type(self).__name__
        with self._given(frames) as given:
            found = self.locate(given)
        if not isinstance(found, Located):
            raise PluginError(f"extractor {name} gave {type(found).__name__}, not Located")
        shape = (len(frames), len(self.regions))
        boxes, score = np.asarray(found.boxes), np.asarray(found.score)
        if boxes.shape != (*shape, 5) or score.shape != shape:
            raise PluginError(
                f"extractor {name} gave boxes {boxes.shape} and scores {score.shape}; "
                f"expected {(*shape, 5)} and {shape} for {shape[0]} frames and {shape[1]} regions"
            )
        marks = found.landmarks
        if marks is not None and (marks.ndim != 3 or marks.shape[::2] != (shape[0], 2)):
            raise PluginError(f"extractor {name} gave landmarks {marks.shape}; expected ({shape[0]}, K, 2)")
        boxes, score = boxes.astype(np.float32), score.astype(np.float32)
        usable = np.isfinite(boxes).all(-1) & (boxes[..., 2] > 0) & (boxes[..., 3] > 0)
        boxes[~usable] = np.nan
        score[~usable] = 0.0
        return Located(boxes, score, found.landmarks)

    @contextmanager
    def _given(self, frames: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """Yield the frames read-only: views are cut from the same memory afterwards."""
        size = f", the first {frames[0].shape[1]} x {frames[0].shape[0]} px" if len(frames) else ""
        extractor = f"extractor {type(self).__name__} on {len(frames)} frame(s){size}"
        watched = WatchedFrames(frames)
        with errors_of(extractor):
            yield [read_only(frame) for frame in frames]
        if watched.changed():
            raise input_changed(extractor, "a frame")
