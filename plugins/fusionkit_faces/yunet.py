"""The YuNet face detector, through OpenCV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import cv2
import numpy as np

from fusionkit.contracts import Face, Natural, Range
from fusionkit.contracts.extractor import Choice, choose
from fusionkit.errors import ConfigError, expanded
from fusionkit_faces.detector import Detector
from fusionkit_faces.template import Layout

WHERE = "face_detection_yunet_*.onnx of https://github.com/opencv/opencv_zoo (models/face_detection_yunet)"
_SMALLEST = 160  # px; a face that fills a frame of 48 px is found more often in a frame enlarged to this
_MOST = 5000
_CANVAS, _MARGIN = 192, 40  # px; the aligned face with a margin around it
_UPRIGHT = 1.5  # degrees; a face that turns by less in a further pass is upright


class YuNet(Detector):
    """Regions of faces that YuNet detects, by its five points. Small and fast on a CPU; nothing is downloaded.

    Args:
        model: ONNX file of the detector.
        score: lowest score of a face.
        side: frames whose longer side exceeds this many px are shrunk to it for detection; a face should then have 10
            to 300 px. Frames below 160 px are enlarged to 160.
        looks: highest number of further detections of the points in the face rotated upright, until it turns no more.

    Raises:
        ConfigError: if a box is invalid or the file is not such a detector.

    Reference: W. Wu, H. Peng, S. Yu, YuNet: A Tiny Millisecond-level Face Detector, Machine Intelligence Research 2023;
    OpenCV's ``FaceDetectorYN``.
    """

    revision: ClassVar[int] = 2  # boxes of arcface by default, from measured landmarks
    files: ClassVar[tuple[str, ...]] = ("model",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # the file is needed to build it

    def __init__(
        self,
        model: str,
        face: Choice = "largest",
        layout: Layout = "arcface",
        boxes: dict[str, list[float]] | None = None,
        score: Annotated[float, Range(above=0, most=1)] = 0.6,
        side: Annotated[int, Range(least=_SMALLEST)] = 640,
        looks: Natural = 8,
    ) -> None:
        super().__init__(face, layout, boxes)
        self._side, self._looks = side, looks
        self._net = _opened(expanded(model), score)

    def faces(self, frame: np.ndarray) -> list[Face]:
        """Return every face of one frame, highest score first."""
        height, width = frame.shape[:2]
        scale = min(max(height, width, _SMALLEST), self._side) / max(height, width)
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        if size != (width, height):
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        shrunk = np.array([size[0] / width, size[1] / height])
        found = [self._upright(frame, face) for face in self._found(image, shrunk)]
        return sorted(found, key=lambda face: -face.score)

    def _found(self, image: np.ndarray, scale: np.ndarray) -> list[Face]:
        """Return the faces of a BGR image, in px of the frame that it was shrunk from."""
        self._net.setInputSize(image.shape[1::-1])
        rows = self._net.detect(image)[1]
        return [] if rows is None else [_face(row, scale) for row in rows]

    def _upright(self, frame: np.ndarray, face: Face) -> Face:
        """Return the face with its points detected again, upright and at a fixed size.

        The points of a rotated face are biased towards those of an upright one: in a photo rotated by -40 and 40
        degrees (skimage's astronaut) the first detection gave 34 and 8, and at most eight further ones 41 and 39.
        """
        for _ in range(self._looks):
            similarity = face.to_template()
            if similarity is None:
                break
            roll = _roll(similarity)
            similarity[:, 2] += _MARGIN
            image = cv2.warpAffine(frame, similarity, (_CANVAS, _CANVAS), flags=cv2.INTER_LINEAR)
            again = self._found(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.ones(2))
            seen = choose(again, "central", _CANVAS, _CANVAS)
            if seen is None:
                break
            points = (seen.points - similarity[:, 2]) @ np.linalg.inv(similarity[:, :2]).T
            face = Face(face.box, face.score, points)
            upright = face.to_template()
            if upright is None or abs((_roll(upright) - roll + 180) % 360 - 180) < _UPRIGHT:
                break
        return face


def _roll(similarity: np.ndarray) -> float:
    """Return the rotation of a similarity transform (2, 3), in degrees."""
    return math.degrees(math.atan2(similarity[1, 0], similarity[0, 0]))


def _face(row: Sequence[float], scale: np.ndarray) -> Face:
    """Convert a row of the detector: left, top, width, height, five points and a score, in px of the shrunk frame."""
    values = np.asarray(row, np.float64)
    corners = np.array([values[:2], values[:2] + values[2:4]]) / scale
    # The centre of pixel k of the shrunk frame is at (k + 0.5) / scale - 0.5.
    points = (values[4:14].reshape(5, 2) + 0.5) / scale - 0.5
    return Face(corners.ravel(), float(np.clip(values[14], 0, 1)), points)


def _opened(path: Path, score: float) -> Any:
    if not path.is_file():
        raise ConfigError(f"yunet: model={str(path)!r} must be a file", hint=WHERE)
    level = cv2.utils.logging.getLogLevel()
    try:
        # OpenCV prints errors that it also raises, and OpenCV 5 a warning on targets, which are not used here.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        net = cv2.FaceDetectorYN.create(str(path), "", (_SMALLEST, _SMALLEST), score, 0.3, _MOST)
        net.detect(np.zeros((_SMALLEST, _SMALLEST, 3), np.uint8))
    except (cv2.error, IndexError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ConfigError(f"yunet: model={str(path)!r} must be a YuNet detector: {reason}", hint=WHERE) from error
    finally:
        cv2.utils.logging.setLogLevel(level)
    return net
