"""Predict: recordings in; a table of probabilities, a timeline for each clip and annotated pictures out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fusionkit.engine.embed import BATCH
from fusionkit.errors import ConfigError, DataError, StorageError
from fusionkit.grid.progress import Progress
from fusionkit.media.clock import Clock
from fusionkit.media.face_tracking import DetectionOptions
from fusionkit.media.recording import Recording
from fusionkit.predict.predictor import Predictor
from fusionkit.predict.video.drawing import annotate
from fusionkit.predict.video.predictors import BatchPredictor, FacePredictor, StreamingPredictor
from fusionkit.predict.video.reading import VideoPrediction, answered
from fusionkit.predict.video.table import PredictionTable
from fusionkit.predict.video.timeline import write_timeline

ROWS, TIMELINES, ANNOTATED = "predictions.csv", "timelines", "annotated"


@dataclass(frozen=True)
class VideoOptions:
    """How recordings are answered.

    Attributes:
        look: how faces are looked for.
        stream: answer each frame before the next is read.
        batch: faces that are embedded together; None: one in a stream, else as many as in a benchmark.
        draw: write annotated videos and photos.

    Raises:
        ConfigError: if there are fewer faces than one in a batch.
    """

    look: DetectionOptions = field(default_factory=DetectionOptions)
    stream: bool = False
    batch: int | None = None
    draw: bool = True

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch = {self.batch} must be at least 1")


def drawn_folders(out: Path) -> list[Path]:
    """Where pictures are drawn below an output folder, which may lie in a folder of inputs."""
    return [out / ANNOTATED, out / TIMELINES]


class VideoRun:
    """One pass over recordings.

    Attributes:
        predictor: of the cell.
        clock: where the time went.
        live: of a stream: how long faces waited for their answer.
        table: the file of rows.
        rows: that it will have.

    Args:
        predictor: of the cell.
        options: how.
        out: ``predictions.csv``, ``timelines/<clip>.png`` and ``annotated/<name>.mp4`` or ``.jpg`` are written there.

    Raises:
        ConfigError: if the cell cannot be used so: its views do not come from images, or it cannot be streamed.
    """

    def __init__(self, predictor: Predictor, options: VideoOptions, out: Path) -> None:
        self.clock = Clock()
        self.predictor = predictor
        self.table = out / ROWS
        self.rows = 0
        self._out, self._options = out, options
        if options.stream:
            self.live: StreamingPredictor | None = StreamingPredictor(predictor, options.batch or 1, self.clock)
            self._answerer: FacePredictor = self.live
        else:
            self.live = None
            self._answerer = BatchPredictor(predictor, options.batch or BATCH, self.clock)

    @property
    def aligned(self) -> bool:
        """Whether whole frames are taken as aligned faces."""
        return self._options.look.detector is None and not self._answerer.finds_faces

    def __call__(self, found: Sequence[Recording], progress: Progress) -> Iterator[VideoPrediction]:
        """Answer recordings; what is wrong with one does not stop the others.

        Args:
            found: with different names.
            progress: told of frames.

        Yields:
            Each recording, when all but the table is written of it; the table is there when all are done.

        Raises:
            StorageError: if something cannot be written.
            FusionKitError: if a component fails.
        """
        classes = self.predictor.classes
        with PredictionTable(self.table, classes) as rows:
            for each in answered(found, self._options.look, self._answerer, self.clock, progress):
                rows.add(each)
                self.rows = rows.rows
                self._draw(each, progress)
                yield each

    def _draw(self, each: VideoPrediction, progress: Progress) -> None:
        if each.footage is None:
            return
        classes = self.predictor.classes
        for clip in each.clips:
            if len(clip.frames) > 1 and clip.seen.any():
                with self.clock("drawing"):
                    write_timeline(clip, each.footage, classes, self._out / TIMELINES / f"{clip.clip}.png")
        if self._options.draw:
            try:
                with self.clock("drawing"):
                    annotate(each, classes, self._out / ANNOTATED, progress)
            except StorageError:
                raise
            except DataError as error:
                each.faults.append(str(error))
