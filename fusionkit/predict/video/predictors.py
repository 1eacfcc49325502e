"""What answers faces, all together or as they come: the embedding of their crops is one, and timed alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.engine.embed import Boxes, EmbeddedFrames, tuned_malloc
from fusionkit.engine.features import Arrays, EmbeddingsInMemory
from fusionkit.media.clock import Clock
from fusionkit.media.face_tracking import TrackedFace
from fusionkit.predict.predictor import ClipStream, Predictor, refuse_later_frames
from fusionkit.predict.video.faces import ClipPredictions, Column, FaceRow, VideoResult, predicted_clips


class FacePredictor(ABC):
    """Answers the faces of recordings.

    Args:
        predictor: of the cell.
        size: faces that are embedded together.
        clock: told how long cutting, embedding and the heads take.

    Raises:
        ConfigError: if the cell's views come ready-made with its data set.
    """

    def __init__(self, predictor: Predictor, size: int, clock: Clock) -> None:
        self._predictor, self._clock = predictor, clock
        self._embedder = predictor.embedder(size)

    @property
    def finds_faces(self) -> bool:
        """Whether the cell looks for a face in what it is given."""
        return self._embedder.finds_faces

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that views are cut from."""
        return self._embedder.regions

    @abstractmethod
    def take(self, footage: VideoResult, frame: int, seen: Sequence[TrackedFace], arrived: float) -> None:
        """The faces of a frame; they are answered when there are enough of them, or with :meth:`finish`.

        Args:
            footage: of the recording.
            frame: place of the frame in it.
            seen: the faces.
            arrived: when the frame was there, by ``time.perf_counter``.
        """

    @abstractmethod
    def finish(self) -> None:
        """Answer what is waiting."""

    @abstractmethod
    def clips(self, footage: VideoResult, endings: Mapping[int, str]) -> list[ClipPredictions]:
        """The predictions of a recording that was read to its end; ``endings`` of its clips by track."""

    def _embedded(self, crops: Sequence[np.ndarray]) -> EmbeddedFrames:
        """The crops embedded; the clock is told of cutting and of embedding apart."""
        before = self._embedder.embedding_seconds
        with self._clock("cutting"):
            found = self._embedder(crops)
        spent = self._embedder.embedding_seconds - before
        self._clock.add("cutting", -spent)
        self._clock.add("embedding", spent)
        return found


_HELD = 2**28  # bytes of pixels that may wait for their batch to be full
_ROWS = 256  # embeddings that a head looks at together


class BatchPredictor(FacePredictor):
    """Answers faces of one recording or of several in a row."""

    def __init__(self, predictor: Predictor, size: int, clock: Clock) -> None:
        super().__init__(predictor, size, clock)
        self._faces: list[tuple[VideoResult, FaceRow, np.ndarray]] = []
        self._pixels = 0
        self._rows: list[tuple[VideoResult, FaceRow]] = []
        self._boxes: Boxes = []
        self._values: list[Arrays] = []

    def take(self, footage: VideoResult, frame: int, seen: Sequence[TrackedFace], arrived: float) -> None:
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

    def clips(self, footage: VideoResult, endings: Mapping[int, str]) -> list[ClipPredictions]:
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
        with tuned_malloc():
            found = self._embedded([crop for _, _, crop in self._faces])
        self._rows += [(footage, face) for footage, face, _ in self._faces]
        self._boxes += found.boxes
        self._values.append(self._predictor.by_view(found.values))
        self._faces, self._pixels = [], 0

    def _answer(self) -> None:
        views = {name: np.concatenate([part[name] for part in self._values]) for name in self._predictor.views}
        with self._clock("heads"):
            answers = [head.evidence(EmbeddingsInMemory(views)) for head in self._predictor.heads]
        for place, (footage, face) in enumerate(self._rows):
            footage.answered(face, self._boxes[place] or {}, [answer[place] for answer in answers])
        self._rows, self._boxes, self._values = [], [], []


class StreamingPredictor(FacePredictor):
    """Answers faces of one recording after the other.

    Who a face is must be said at once: as long as never two were seen at a time there is one person, whatever comes
    between; from then on, each face that is not followed from earlier frames is somebody new.

    Args:
        predictor: of a cell whose smoother is causal.
        size: faces that are embedded together; with more than one the first of them waits for the last.
        clock: told how long cutting, embedding and the heads take.

    Raises:
        ConfigError: if the smoother is not causal, or the cell's views come ready-made with its data set.
    """

    def __init__(self, predictor: Predictor, size: int, clock: Clock) -> None:
        refuse_later_frames(predictor)
        super().__init__(predictor, size, clock)
        self._waiting: list[tuple[VideoResult, FaceRow, np.ndarray, float]] = []
        self._of: VideoResult | None = None
        self._crowd = False
        self._people: dict[int, int] = {}
        self._streams: dict[int, ClipStream] = {}
        self._latency = Column(np.float64)

    @property
    def latency(self) -> np.ndarray:
        """(m,) s from the moment a frame was decoded to the answer, of every face so far."""
        return self._latency.values

    def take(self, footage: VideoResult, frame: int, seen: Sequence[TrackedFace], arrived: float) -> None:
        """As :meth:`FaceAnswerer.take`."""
        if footage is not self._of:
            self.finish()
            self._of, self._crowd, self._people, self._streams = footage, False, {}, {}
        self._crowd |= len(seen) > 1
        for sighting in sorted(seen, key=lambda one: float(one.box[0])):  # those who come together count from the left
            row = FaceRow(frame, self._person(sighting.track), sighting.box, sighting.to_frame)
            self._waiting.append((footage, row, sighting.crop, arrived))
            if len(self._waiting) >= self._embedder.size:
                self.finish()

    def _person(self, track: int) -> int:
        if track not in self._people:
            new = len(set(self._people.values()))
            self._people[track] = new if self._crowd else 0
            self._streams.setdefault(self._people[track], ClipStream(self._predictor.heads))
        return self._people[track]

    def finish(self) -> None:
        """Answer what is waiting."""
        if not self._waiting:
            return
        found = self._embedded([crop for _, _, crop, _ in self._waiting])
        with self._clock("heads"):
            views = EmbeddingsInMemory(self._predictor.by_view(found.values))
            evidence = [head.evidence(views) for head in self._predictor.heads]
            self._step(evidence, [boxes or {} for boxes in found.boxes])
        self._waiting = []

    def _step(self, evidence: Sequence[np.ndarray], boxes: Sequence[dict[str, np.ndarray]]) -> None:
        nothing = np.full(len(self._predictor.classes), np.nan)
        for place, (footage, row, _, arrived) in enumerate(self._waiting):
            number = footage.number(row.frame)
            probs = self._streams[row.track]([each[place] for each in evidence], number)
            footage.answered(row, boxes[place], [nothing if probs is None else probs])
            self._latency.add(perf_counter() - arrived)

    def clips(self, footage: VideoResult, endings: Mapping[int, str]) -> list[ClipPredictions]:
        """The predictions of a recording that was read to its end; a frame without a face has none."""
        people = np.unique(footage.track.values).tolist()
        names = {person: f"_{person + 1}" if len(people) > 1 else "" for person in people}
        return predicted_clips(footage, names, len(self._predictor.classes), _as_they_are)


def _as_they_are(_table: FrameTable, evidence: list[np.ndarray]) -> np.ndarray:
    return evidence[0].astype(np.float64)
