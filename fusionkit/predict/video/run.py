"""Predict photos and videos: a table of probabilities, a timeline per clip, and annotated pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from fusionkit.engine.embed import batch_size
from fusionkit.errors import ConfigError, DataError, PluginError, StorageError
from fusionkit.grid.progress import Progress
from fusionkit.media.clock import Clock
from fusionkit.media.face_tracking import NO_FACE_HINT, DetectionOptions, FaceTracker, TrackedFace
from fusionkit.media.inputs import MediaInput
from fusionkit.media.turns import upright
from fusionkit.media.video import MediaFrame
from fusionkit.predict.predictor import Predictor, one_thread
from fusionkit.predict.video.drawing import annotate
from fusionkit.predict.video.predictors import BatchPredictor, FacePredictor, StreamingPredictor
from fusionkit.predict.video.result import VideoResult
from fusionkit.predict.video.table import PredictionTable
from fusionkit.predict.video.timeline import write_timeline

TABLE, TIMELINES, ANNOTATED = "predictions.csv", "timelines", "annotated"
_PHOTOS = 256  # that share batches


@dataclass(frozen=True)
class VideoOptions:
    """How inputs are predicted.

    Attributes:
        detection: options of detection.
        stream: predict each frame before the next is read.
        batch: number of faces that are embedded together; None: 1 in a stream, else as in a benchmark.
        draw: write annotated videos and photos.

    Raises:
        ConfigError: if ``batch`` is less than 1.
    """

    detection: DetectionOptions = field(default_factory=DetectionOptions)
    stream: bool = False
    batch: int | None = None
    draw: bool = True

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"option batch = {self.batch} must be at least 1")


def picture_folders(out: Path) -> list[Path]:
    """Return the folders of pictures below an output folder, which must not be read as inputs."""
    return [out / ANNOTATED, out / TIMELINES]


class VideoRun:
    """One pass over inputs. Pictures are drawn for tasks with one class per frame.

    Attributes:
        predictor: of the cell.
        options: of the pass.
        clock: seconds of each step.
        table: path of the CSV file.
        rows: number of rows in it.

    Args:
        predictor: of the cell.
        options: of the pass.
        out: ``predictions.csv``, ``timelines/<clip>.png`` and ``annotated/<name>.mp4`` or ``.jpg`` are written there.

    Raises:
        ConfigError: if the data set of the cell provides its views ready-made, or the cell cannot be streamed.
    """

    def __init__(self, predictor: Predictor, options: VideoOptions, out: Path) -> None:
        self.predictor, self.options, self._out = predictor, options, out
        self.clock = Clock()
        self.table = out / TABLE
        self.rows = 0
        self._clip_owners: dict[str, MediaInput] = {}
        if options.stream:
            self._faces: FacePredictor = StreamingPredictor(predictor, options.batch or 1, self.clock)
        else:
            self._faces = BatchPredictor(predictor, options.batch or batch_size(predictor.device), self.clock)

    @property
    def assumes_aligned(self) -> bool:
        """Whether whole frames are used as aligned faces."""
        return self.options.detection.detector is None and not self._faces.finds_faces

    def __call__(self, inputs: Sequence[MediaInput], progress: Progress) -> Iterator[VideoResult]:
        """Predict inputs; an input that fails does not stop the others.

        Args:
            inputs: with different clip names.
            progress: counts frames.

        Yields:
            The result of each input, when its pictures are written. The table is written after the last one.

        Raises:
            StorageError: if a file cannot be written.
            FusionKitError: if a component fails.
        """
        with PredictionTable(self.table, self.predictor.task) as table:
            for group in _groups(inputs):
                for result in self._predict(group, progress):
                    if not result.failed:
                        table.add(result)
                        self.rows = table.rows
                        self._draw(result, progress)
                    yield result

    def _predict(self, group: list[MediaInput], progress: Progress) -> list[VideoResult]:
        start = perf_counter()
        name, unit = ("photos", "photos") if group[0].is_photo else (group[0].clip_name, "frames")
        with one_thread():
            with progress.stage(name, sum(item.expected_frames() for item in group), unit):
                read = [self._read(item, progress) for item in group]
                self._faces.flush()
            for result, suffixes in read:
                self._make_clips(result, suffixes)
        for result, _ in read:
            result.elapsed = perf_counter() - start
        return [result for result, _ in read]

    def _read(self, item: MediaInput, progress: Progress) -> tuple[VideoResult, dict[int, str]]:
        result = VideoResult(item, self._faces.regions)
        tracker = FaceTracker(self.options.detection, self.clock, is_photo=item.is_photo)
        try:
            with self.clock("detection"):
                result.source = item = upright(item, self.options.detection)
            reader = item.open()
            for frame in self.clock.each("decoding", reader.frames()):
                decoded = perf_counter()
                self._faces.add(result, frame, _detect(tracker, frame, item), decoded)
                progress.advance()
        except DataError as error:
            result.fail(str(error))
        except OSError as error:
            result.fail(f"{item.path} cannot be read: {error.strerror or error}")
        else:
            result.faults, result.rate = list(reader.faults), reader.rate
            if doubts := tracker.doubts(item.clip_name):
                result.faults.append(f"{item.path}: {doubts}")
        return result, tracker.clip_suffixes()

    def _make_clips(self, result: VideoResult, suffixes: Mapping[int, str]) -> None:
        if result.failed:
            return
        path = result.source.path
        try:
            result.clips = self._faces.clips(result, suffixes)
        except DataError as error:  # the smoother needs a rate that the input does not have
            result.fail(f"{path}: {error}")
            return
        for clip in result.clips:
            owner = self._clip_owners.setdefault(clip.clip, result.source)
            if owner is not result.source:
                result.fail(f"{path}: input {owner.path} already has a clip {clip.clip!r} (rename one of the files)")
                return
        if not any(clip.seen.any() for clip in result.clips):
            hint = f" ({NO_FACE_HINT})" if self.options.detection.detector else ""
            result.faults.append(f"{path}: no face found in {len(result):,} frame(s){hint}")

    def _draw(self, result: VideoResult, progress: Progress) -> None:
        if not self.predictor.task.exclusive:
            return  # pictures show one class per frame
        classes = self.predictor.classes
        with self.clock("drawing"):
            for clip in result.clips:
                if len(clip.frames) > 1 and clip.seen.any():
                    write_timeline(clip, result, classes, self._out / TIMELINES / f"{clip.clip}.png")
            if self.options.draw:
                try:
                    annotate(result, classes, self._out / ANNOTATED, progress)
                except StorageError:
                    raise
                except DataError as error:
                    result.faults.append(str(error))


def _detect(tracker: FaceTracker, frame: MediaFrame, item: MediaInput) -> list[TrackedFace]:
    try:
        return tracker(frame)
    except PluginError as error:
        raise PluginError(f"{item.path} frame {frame.number}: {error}") from error


def _groups(inputs: Sequence[MediaInput]) -> Iterator[list[MediaInput]]:
    """Yield photos in groups that share batches, and every other input alone, in order."""
    photos: list[MediaInput] = []
    for item in inputs:
        if photos and (not item.is_photo or len(photos) == _PHOTOS):
            yield photos
            photos = []
        if item.is_photo:
            photos.append(item)
        else:
            yield [item]
    if photos:
        yield photos
