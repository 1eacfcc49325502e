"""Base of face detectors: boxes of a face at any position, size and roll in the frame."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from fusionkit.contracts import Extractor, Face, Located
from fusionkit.contracts.extractor import SIDE, Choice, choose
from fusionkit_faces.template import Layout, Template


class Detector(Extractor):
    """Regions of a detected face: the boxes of ``template``, transformed from the aligned face to the frame.

    The five points of a face give the similarity transform to the aligned 112 px face. A region is the whole-pixel box
    of ``template``, transformed by the inverse: its content is that of the aligned face, at the resolution of the
    frame. Your own detector derives from this class and implements ``faces``.

    Args:
        face: face to use if there are several: ``largest``, ``central``, or the outermost one ``left`` or ``right``.
        layout: boxes on the aligned face, as for ``template``; those of ``arcface`` fit it.
        boxes: additional or replaced boxes on the aligned face, as for ``template``. Default: those of the layout.

    Raises:
        ConfigError: if a box is invalid.
    """

    landmarks: ClassVar[int] = 5

    def __init__(self, face: Choice, layout: Layout, boxes: dict[str, list[float]] | None) -> None:
        template = Template(layout, boxes)
        self._chosen = face
        self._regions = template.regions
        self._aligned_note = template.aligned_note
        self._boxes = template.locate([np.empty((SIDE, SIDE, 3), np.uint8)]).boxes[0]

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the boxes: those of the layout, then additional ones."""
        return self._regions

    @property
    def aligned_note(self) -> str:
        """That of ``template`` with these boxes."""
        return self._aligned_note

    @property
    def point_count(self) -> int:
        """Number of landmarks of :meth:`locate`."""
        return self.landmarks

    @abstractmethod
    def faces(self, frame: np.ndarray) -> list[Face]:
        """Return every face of one frame, highest score first."""

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        """Return the regions of one face per frame, with the score of the face; NaN if there is no face."""
        boxes = np.full((len(frames), len(self._regions), 5), np.nan, np.float32)
        score = np.zeros(boxes.shape[:2], np.float32)
        marks = np.full((len(frames), self.point_count, 2), np.nan, np.float32)
        for row, frame in enumerate(frames):
            face = choose(self.detect(frame), self._chosen, frame.shape[1], frame.shape[0])
            if face is None:
                continue
            boxes[row] = in_frame(self._boxes, face)
            score[row] = face.score
            marks[row] = face.points if face.landmarks is None else face.landmarks
        return Located(boxes, score, marks)


def in_frame(boxes: np.ndarray, face: Face) -> np.ndarray:
    """Transform boxes of the aligned face (R, 5) to the frame of the face.

    Edges of boxes are measured from the edge of the first pixel, points from its centre: hence the halves.
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
