"""Predict the faces of inputs, in batches or as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import cycle
from time import perf_counter

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.engine.embed import Boxes, EmbeddedFrames
from fusionkit.engine.features import Arrays, EmbeddingsInMemory
from fusionkit.engine.malloc import tuned_malloc
from fusionkit.media.clock import Clock
from fusionkit.media.face_tracking import TrackedFace
from fusionkit.media.video import MediaFrame
from fusionkit.predict.predictor import ClipStream, Predictor, require_causal
from fusionkit.predict.video.result import ClipPredictions, FaceRow, VideoResult, clip_predictions

_MAX_BYTES = 2**28  # of crops that wait until their batch is full
_HEAD_BATCH = 256  # embeddings


class FacePredictor(ABC):
    """Predict the faces of inputs.

    Args:
        predictor: of the cell.
        batch: number of faces that are embedded together.
        clock: counts the seconds of cutting, embedding and the heads.

    Raises:
        ConfigError: if the data set of the cell provides its views ready-made.
    """

    def __init__(self, predictor: Predictor, batch: int, clock: Clock) -> None:
        self._predictor, self._clock = predictor, clock
        self._embedder = predictor.embedder(batch)

    @property
    def finds_faces(self) -> bool:
        """Whether the extractor of the cell detects the face in an image."""
        return self._embedder.finds_faces

    @property
    def regions(self) -> tuple[str, ...]:
        """Return the regions that views are cut from."""
        return self._embedder.regions

    @abstractmethod
    def add(self, result: VideoResult, frame: MediaFrame, faces: Sequence[TrackedFace], decoded: float) -> None:
        """Add a frame; its faces are predicted when a batch is full, or by :meth:`flush`.

        Args:
            result: of the input; the predictions are added to it.
            frame: next frame of the input.
            faces: in the frame.
            decoded: time when the frame was decoded, by ``time.perf_counter``.
        """

    @abstractmethod
    def flush(self) -> None:
        """Predict the faces that wait."""

    @abstractmethod
    def clips(self, result: VideoResult, suffixes: Mapping[int, str]) -> list[ClipPredictions]:
        """Return the predictions of an input with all its frames; ``suffixes`` of the clip name by track."""

    def _embed(self, crops: Sequence[np.ndarray]) -> EmbeddedFrames:
        before = self._embedder.embedding_seconds
        with self._clock("cutting"):
            found = self._embedder(crops)
        spent = self._embedder.embedding_seconds - before
        self._clock.seconds["cutting"] -= spent
        self._clock.seconds["embedding"] += spent
        return found


class BatchPredictor(FacePredictor):
    """Predict faces in batches, which may span inputs; clips are smoothed when they are complete."""

    def __init__(self, predictor: Predictor, batch: int, clock: Clock) -> None:
        super().__init__(predictor, batch, clock)
        # The outputs of heads of clips are the embeddings, equal for all heads: those of one are kept.
        self._kept = predictor.heads[:1] if predictor.heads[0].whole_clips else predictor.heads
        self._faces: list[tuple[VideoResult, FaceRow, np.ndarray]] = []  # to be embedded
        self._bytes = 0
        self._rows: list[tuple[VideoResult, FaceRow]] = []  # embedded
        self._boxes: Boxes = []
        self._values: list[Arrays] = []

    def add(self, result: VideoResult, frame: MediaFrame, faces: Sequence[TrackedFace], decoded: float) -> None:
        """Add a frame."""
        index = result.add_frame(frame)
        for face in faces:
            self._faces.append((result, FaceRow(index, face.track, face.box, face.to_frame), face.crop))
            self._bytes += face.crop.nbytes
            if len(self._faces) >= self._embedder.size or self._bytes > _MAX_BYTES:
                self._embed_faces()
        if len(self._rows) >= _HEAD_BATCH:
            self._run_heads()

    def flush(self) -> None:
        """Predict the faces that wait."""
        if self._faces:
            self._embed_faces()
        if self._rows:
            self._run_heads()

    def clips(self, result: VideoResult, suffixes: Mapping[int, str]) -> list[ClipPredictions]:
        """Return the smoothed predictions."""
        with self._clock("smoothing"):
            return clip_predictions(result, suffixes, len(self._predictor.classes), self._smooth)

    def _smooth(self, table: FrameTable, outputs: list[np.ndarray]) -> np.ndarray:
        pairs = zip(self._predictor.heads, cycle(outputs), strict=False)
        each = [head.smooth_outputs(rows, table, self._predictor.impute) for head, rows in pairs]
        total = np.zeros_like(each[0])
        for probs in each:
            total += probs
        mean: np.ndarray = total / len(each)
        return mean

    def _embed_faces(self) -> None:
        # Tuned per batch, not per video: with frames allocated in between, the heap would fragment.
        with tuned_malloc():
            found = self._embed([crop for _, _, crop in self._faces])
        self._rows += [(result, face) for result, face, _ in self._faces]
        self._boxes += found.boxes
        self._values.append(self._predictor.by_view(found.values))
        self._faces, self._bytes = [], 0

    def _run_heads(self) -> None:
        views = {name: np.concatenate([part[name] for part in self._values]) for name in self._values[0]}
        with self._clock("heads"):
            outputs = [head.outputs(EmbeddingsInMemory(views)) for head in self._kept]
        for index, (result, face) in enumerate(self._rows):
            result.add_face(face, self._boxes[index] or {}, [output[index] for output in outputs])
        self._rows, self._boxes, self._values = [], [], []


class StreamingPredictor(FacePredictor):
    """Predict faces as they come, one input after the other.

    The clip of a face is decided at once: as long as no frame has had two faces, all faces are one clip; from then on
    each new track is a new clip.

    Args:
        predictor: of a cell with a causal fusion and smoother.
        batch: number of faces that are embedded together; above 1 the first of them waits for the last.
        clock: counts the seconds of cutting, embedding and the heads.

    Raises:
        ConfigError: if the smoother is not causal, or the data set of the cell provides its views ready-made.
    """

    def __init__(self, predictor: Predictor, batch: int, clock: Clock) -> None:
        require_causal(predictor)
        super().__init__(predictor, batch, clock)
        self._waiting: list[tuple[VideoResult, FaceRow, int, np.ndarray, float]] = []
        self._result: VideoResult | None = None
        self._several = False
        self._clip_of_track: dict[int, int] = {}
        self._streams: dict[int, ClipStream] = {}

    def add(self, result: VideoResult, frame: MediaFrame, faces: Sequence[TrackedFace], decoded: float) -> None:
        """Add a frame."""
        if result is not self._result:
            self.flush()
            self._result, self._several, self._clip_of_track, self._streams = result, False, {}, {}
        index = result.add_frame(frame)
        self._several |= len(faces) > 1
        for face in sorted(faces, key=lambda face: float(face.box[0])):  # new clips of a frame count from the left
            row = FaceRow(index, self._clip(face.track), face.box, face.to_frame)
            self._waiting.append((result, row, frame.number, face.crop, decoded))
            if len(self._waiting) >= self._embedder.size:
                self.flush()

    def flush(self) -> None:
        """Predict the faces that wait."""
        if not self._waiting:
            return
        found = self._embed([crop for *_, crop, _ in self._waiting])
        no_view = np.full(len(self._predictor.classes), np.nan)
        with self._clock("heads"):
            views = EmbeddingsInMemory(self._predictor.by_view(found.values))
            outputs = [head.outputs(views) for head in self._predictor.heads]
            for index, (result, row, number, _, decoded) in enumerate(self._waiting):
                probs = self._streams[row.track]([rows[index] for rows in outputs], number)
                result.add_face(row, found.boxes[index] or {}, [no_view if probs is None else probs])
                result.latency.add(perf_counter() - decoded)
        self._waiting = []

    def clips(self, result: VideoResult, suffixes: Mapping[int, str]) -> list[ClipPredictions]:
        """Return the predictions; a frame without a face has none."""
        clips = np.unique(result.faces.values["track"]).tolist()
        own = {clip: f"_{clip + 1}" if len(clips) > 1 else "" for clip in clips}
        return clip_predictions(
            result, own, len(self._predictor.classes), lambda _table, probs: probs[0].astype(np.float64)
        )

    def _clip(self, track: int) -> int:
        if track not in self._clip_of_track:
            clip = len(set(self._clip_of_track.values())) if self._several else 0
            self._clip_of_track[track] = clip
            self._streams.setdefault(clip, ClipStream(self._predictor.heads))
        return self._clip_of_track[track]
