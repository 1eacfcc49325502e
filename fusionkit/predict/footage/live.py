"""Answers faces as they come, each clip's by a stream of its own, and measures how long a frame waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.media.clock import Clock
from fusionkit.media.sighting import Sighting
from fusionkit.predict.footage.clips import ClipPredictions, predicted_clips
from fusionkit.predict.footage.column import Column
from fusionkit.predict.footage.face_answerer import FaceAnswerer
from fusionkit.predict.footage.footage import FaceRow, Footage
from fusionkit.predict.predictor import Predictor
from fusionkit.predict.raw_views import HeldViews
from fusionkit.predict.stream import ClipStream, refuse_later_frames


class LiveAnswerer(FaceAnswerer):
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
        self._waiting: list[tuple[Footage, FaceRow, np.ndarray, float]] = []
        self._of: Footage | None = None
        self._crowd = False
        self._people: dict[int, int] = {}
        self._streams: dict[int, ClipStream] = {}
        self._latency = Column(np.float64)

    @property
    def latency(self) -> np.ndarray:
        """(m,) s from the moment a frame was decoded to the answer, of every face so far."""
        return self._latency.values

    def take(self, footage: Footage, frame: int, seen: Sequence[Sighting], arrived: float) -> None:
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
            views = HeldViews(self._predictor.by_view(found.values))
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

    def clips(self, footage: Footage, endings: Mapping[int, str]) -> list[ClipPredictions]:
        """The predictions of a recording that was read to its end; a frame without a face has none."""
        people = np.unique(footage.track.values).tolist()
        names = {person: f"_{person + 1}" if len(people) > 1 else "" for person in people}
        return predicted_clips(footage, names, len(self._predictor.classes), _as_they_are)


def _as_they_are(_table: FrameTable, evidence: list[np.ndarray]) -> np.ndarray:
    return evidence[0].astype(np.float64)
