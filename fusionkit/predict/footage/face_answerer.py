"""What answers faces, all together or as they come: the embedding of their crops is one, and timed alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from fusionkit.engine.frame_embedder import EmbeddedFrames
from fusionkit.media.clock import Clock
from fusionkit.media.sighting import Sighting
from fusionkit.predict.footage.clips import ClipPredictions
from fusionkit.predict.footage.footage import Footage
from fusionkit.predict.predictor import Predictor


class FaceAnswerer(ABC):
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
    def take(self, footage: Footage, frame: int, seen: Sequence[Sighting], arrived: float) -> None:
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
    def clips(self, footage: Footage, endings: Mapping[int, str]) -> list[ClipPredictions]:
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
