"""Answers faces batch after batch: of their pictures and embeddings, only what the heads make of them is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.engine.frame_embedder import Boxes
from fusionkit.engine.held_memory import held_memory
from fusionkit.engine.part import Arrays
from fusionkit.media.clock import Clock
from fusionkit.media.sighting import Sighting
from fusionkit.predict.footage.clips import ClipPredictions, predicted_clips
from fusionkit.predict.footage.face_answerer import FaceAnswerer
from fusionkit.predict.footage.footage import FaceRow, Footage
from fusionkit.predict.predictor import Predictor
from fusionkit.predict.raw_views import HeldViews

_HELD = 2**28  # bytes of pixels that may wait for their batch to be full
_ROWS = 256  # embeddings that a head looks at together


class Answerer(FaceAnswerer):
    """Answers faces of one recording or of several in a row."""

    def __init__(self, predictor: Predictor, size: int, clock: Clock) -> None:
        super().__init__(predictor, size, clock)
        self._faces: list[tuple[Footage, FaceRow, np.ndarray]] = []
        self._pixels = 0
        self._rows: list[tuple[Footage, FaceRow]] = []
        self._boxes: Boxes = []
        self._values: list[Arrays] = []

    def take(self, footage: Footage, frame: int, seen: Sequence[Sighting], arrived: float) -> None:
        """As :meth:`FaceAnswerer.take`."""
        for sighting in seen:
            self._faces.append((footage, FaceRow.of(frame, sighting), sighting.crop))
            self._pixels += sighting.crop.nbytes
            if len(self._faces) >= self._embedder.size or self._pixels > _HELD:
                self._embed()
        if len(self._rows) >= _ROWS:
            self._answer()

    def finish(self) -> None:
        """Answer what is waiting."""
        if self._faces:
            self._embed()
        if self._rows:
            self._answer()

    def clips(self, footage: Footage, endings: Mapping[int, str]) -> list[ClipPredictions]:
        """The smoothed predictions of a recording that was read to its end; ``endings`` of its clips by track."""
        with self._clock("smoothing"):
            return predicted_clips(footage, endings, len(self._predictor.classes), self._smoothed)

    def _smoothed(self, table: FrameTable, evidence: list[np.ndarray]) -> np.ndarray:
        heads = self._predictor.heads
        each = [head.smoothed(rows, table, self._predictor.impute) for head, rows in zip(heads, evidence, strict=True)]
        probs = np.zeros_like(each[0])
        for of_head in each:
            probs += of_head
        averaged: np.ndarray = probs / len(each)
        return averaged

    def _embed(self) -> None:
        # Held for a batch, not for a video: beside frames that come and go the heap would grow in pieces.
        with held_memory():
            found = self._embedded([crop for _, _, crop in self._faces])
        self._rows += [(footage, face) for footage, face, _ in self._faces]
        self._boxes += found.boxes
        self._values.append(self._predictor.by_view(found.values))
        self._faces, self._pixels = [], 0

    def _answer(self) -> None:
        views = {name: np.concatenate([part[name] for part in self._values]) for name in self._predictor.views}
        with self._clock("heads"):
            answers = [head.evidence(HeldViews(views)) for head in self._predictor.heads]
        for place, (footage, face) in enumerate(self._rows):
            footage.answered(face, self._boxes[place] or {}, [answer[place] for answer in answers])
        self._rows, self._boxes, self._values = [], [], []
