"""What detectors share: the boxes of a face that may stand anywhere in the frame, of any size and roll."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from fusionkit.contracts import Extractor, Face, Located, require_choice
from fusionkit.contracts.extractor import CHOICES, SIDE, Choice, choose
from fusionkit_faces.template import Template


class Detector(Extractor):
    """Regions of a detected face: the boxes of ``template``, carried from the aligned face back into the frame.

    The five points of a face give the similarity to the aligned 112 px face. A region is the whole-pixel box that
    ``template`` has there, moved, scaled and turned by the inverse: its content is that of the aligned face, at the
    resolution of the frame. A detector of your own derives from this class and writes ``faces``.

    Args:
        face: of several faces, the ``largest``, the ``central`` one, or the one furthest ``left`` or ``right``.
        layout: as for ``template``.
        boxes: as for ``template``.

    Raises:
        ConfigError: if an option is wrong.
    """

    landmarks: ClassVar[int] = 5

    def __init__(self, face: Choice, layout: str, boxes: dict[str, list[float]] | None) -> None:
        require_choice(f"{type(self).__name__.lower()}: face", face, CHOICES)
        template = Template(layout, boxes)  # type: ignore[arg-type]  # which it checks itself
        self._chosen = face
        self._regions = template.regions
        self._boxes = template.locate([np.empty((SIDE, SIDE, 3), np.uint8)]).boxes[0]

    @property
    def regions(self) -> tuple[str, ...]:
        """Those of the layout, then added ones."""
        return self._regions

    @property
    def point_count(self) -> int:
        """How many landmarks :meth:`locate` gives."""
        return self.landmarks

    @abstractmethod
    def faces(self, frame: np.ndarray) -> list[Face]:
        """Every face of one frame, surest first."""

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        """The regions of one face a frame; NaN where there is none. Every region has the score of its face."""
        boxes = np.full((len(frames), len(self._regions), 5), np.nan, np.float32)
        score = np.zeros(boxes.shape[:2], np.float32)
        marks = np.full((len(frames), self.point_count, 2), np.nan, np.float32)
        for place, frame in enumerate(frames):
            face = choose(self.detect(frame), self._chosen, frame.shape[1], frame.shape[0])
            if face is None:
                continue
            boxes[place] = in_frame(self._boxes, face)
            score[place] = face.score
            marks[place] = face.points if face.landmarks is None else face.landmarks
        return Located(boxes, score, marks)


def in_frame(boxes: np.ndarray, face: Face) -> np.ndarray:
    """Boxes of the aligned face (R, 5) as they stand in the frame that the face was found in.

    Edges of boxes count from the edge of the first pixel, points from its centre: hence the halves.
    """
    similarity = face.to_template()
    if similarity is None:
        return np.full_like(boxes, np.nan)
    inverse = np.linalg.inv(similarity[:, :2])
    out = boxes.copy()
    out[:, :2] = (boxes[:, :2] - 0.5 - similarity[:, 2]) @ inverse.T + 0.5
    out[:, 2:4] *= math.sqrt(np.linalg.det(inverse))
    out[:, 4] += math.degrees(math.atan2(inverse[1, 0], inverse[0, 0]))
    return out
