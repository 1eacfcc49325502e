"""The YuNet face detector, through OpenCV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np

from fusionkit.contracts import Face, require_count, require_number
from fusionkit.contracts.extractor import Choice, choose
from fusionkit.errors import ConfigError
from fusionkit_faces.detector import Detector

WHERE = "face_detection_yunet_*.onnx of https://github.com/opencv/opencv_zoo (models/face_detection_yunet)"
_SMALLEST = 160  # a face that fills a frame of 48 px is found more often when the frame is enlarged to this
_MOST = 5000
_CANVAS, _MARGIN = 192, 40  # the aligned face with some of what surrounds it
_STILL = 1.5  # degrees: a face that turns by less when it is looked at again stands upright


class YuNet(Detector):
    """Regions of faces that YuNet finds, by its five points. Small and quick on a CPU; nothing is downloaded.

    Args:
        model: the ONNX file of the detector.
        face: of several faces, the ``largest``, the ``central`` one, or the one furthest ``left`` or ``right``.
        layout: boxes on the aligned face, as for ``template``.
        boxes: more boxes on the aligned face, or other ones, as for ``template``.
        score: the least score of a face, in 0..1.
        side: frames whose longer side is above this many px are shrunk to it to find faces. A face should be left with
            10 to 300 px. Frames below 160 px are enlarged to that.
        looks: how often at most the points of a face are found again in the face made upright, until it turns no more.

    Raises:
        ConfigError: if an option is wrong or the file is no such detector.

    Reference: W. Wu, H. Peng, S. Yu, YuNet: A Tiny Millisecond-level Face Detector, Machine Intelligence Research 2023;
    OpenCV's ``FaceDetectorYN``.
    """

    files: ClassVar[tuple[str, ...]] = ("model",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()  # there is nothing to build without the file

    def __init__(
        self,
        model: str,
        face: Choice = "largest",
        layout: Literal["emotic", "arcface"] = "emotic",
        boxes: dict[str, list[float]] | None = None,
        score: float = 0.6,
        side: int = 640,
        looks: int = 8,
    ) -> None:
        super().__init__(face, layout, boxes)
        require_number("yunet: score", score, above=0, most=1)
        require_count("yunet: side", side, least=_SMALLEST)
        require_count("yunet: looks", looks, least=0)
        self._side, self._looks = side, looks
        self._net = _opened(Path(model).expanduser(), score)

    def faces(self, frame: np.ndarray) -> list[Face]:
        """Every face of one frame, surest first."""
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
        """The faces of a BGR image, in px of the frame that it was shrunk from."""
        self._net.setInputSize(image.shape[1::-1])
        rows = self._net.detect(image)[1]
        return [] if rows is None else [_face(row, scale) for row in rows]

    def _upright(self, frame: np.ndarray, face: Face) -> Face:
        """The face with its points found again, by looking at it upright and at one size.

        The points of a face that leans are drawn towards those of an upright one: in a photo turned by -40 and by 40
        degrees (skimage's astronaut) 34 and 8 were seen at first, and 41 and 39 after at most eight more looks.
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
            if upright is None or abs((_roll(upright) - roll + 180) % 360 - 180) < _STILL:
                break
        return face


def _roll(similarity: np.ndarray) -> float:
    """By which a similarity (2, 3) turns, in degrees."""
    return math.degrees(math.atan2(similarity[1, 0], similarity[0, 0]))


def _face(row: Sequence[float], scale: np.ndarray) -> Face:
    """A row of the detector: left, top, width, height, five points and a score, in px of the shrunk frame."""
    values = np.asarray(row, np.float64)
    corners = np.array([values[:2], values[:2] + values[2:4]]) / scale
    # The centre of pixel k of the shrunk frame is that of (k + 0.5) / scale - 0.5.
    points = (values[4:14].reshape(5, 2) + 0.5) / scale - 0.5
    return Face(corners.ravel(), float(np.clip(values[14], 0, 1)), points)


def _opened(path: Path, score: float) -> Any:
    if not path.is_file():
        raise ConfigError(f"yunet: model={str(path)!r} is not a file", hint=WHERE)
    level = cv2.utils.logging.getLogLevel()
    try:
        cv2.utils.logging.setLogLevel(
            cv2.utils.logging.LOG_LEVEL_ERROR
        )  # errors: OpenCV 5 warns that its engine knows no targets, which nobody has asked for
        net = cv2.FaceDetectorYN.create(str(path), "", (_SMALLEST, _SMALLEST), score, 0.3, _MOST)
        net.detect(np.zeros((_SMALLEST, _SMALLEST, 3), np.uint8))
    except (cv2.error, IndexError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ConfigError(f"yunet: model={str(path)!r} is no YuNet detector: {reason}", hint=WHERE) from error
    finally:
        cv2.utils.logging.setLogLevel(level)
    return net
