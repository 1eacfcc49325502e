"""Recordings read one after the other and answered; what is wrong with one does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from fusionkit.errors import DataError, PluginError
from fusionkit.grid.progress import Progress
from fusionkit.media.clock import Clock
from fusionkit.media.face_tracking import DetectionOptions, FaceTracker, TrackedFace
from fusionkit.media.recording import Recording
from fusionkit.media.video import MediaFrame
from fusionkit.predict.predictor import one_thread
from fusionkit.predict.video.faces import ClipPredictions, VideoResult
from fusionkit.predict.video.predictors import FacePredictor

_PHOTOS = 256  # that share batches


@dataclass(eq=False)
class VideoPrediction:
    """One recording with what a cell says of it.

    Attributes:
        recording: what was read.
        footage: its log; None where it could not be read.
        clips: the people in it.
        faults: what was wrong, a line each.
        seconds: that reading and answering took, of a video.
    """

    recording: Recording
    footage: VideoResult | None
    clips: list[ClipPredictions] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


def answered(
    found: Sequence[Recording], look: DetectionOptions, answerer: FacePredictor, clock: Clock, progress: Progress
) -> Iterator[VideoPrediction]:
    """Answer recordings: photos some hundred at a time, so that they share batches, anything else by itself.

    Args:
        found: with different names.
        look: how faces are looked for.
        answerer: of the cell.
        clock: told where the time goes.
        progress: told of frames.

    Yields:
        Each recording, as soon as it is answered.

    Raises:
        FusionKitError: if a component fails.
    """
    owners: dict[str, Recording] = {}
    for group in _groups(found):
        began = perf_counter()
        name, unit = ("photos", "photos") if group[0].still else (group[0].name, "frames")
        with one_thread():
            with progress.stage(name, sum(recording.expected() for recording in group), unit):
                read = [_read(recording, look, answerer, clock, progress) for recording in group]
                answerer.finish()
            outcomes = [_outcome(footage, endings, answerer, owners) for footage, endings in read]
        for outcome in outcomes:
            outcome.seconds = perf_counter() - began
            yield outcome


def _groups(found: Sequence[Recording]) -> Iterator[list[Recording]]:
    photos: list[Recording] = []
    for recording in found:
        if not recording.still:
            if photos:
                yield photos
            photos = []
            yield [recording]
            continue
        photos.append(recording)
        if len(photos) == _PHOTOS:
            yield photos
            photos = []
    if photos:
        yield photos


def _read(
    recording: Recording, look: DetectionOptions, answerer: FacePredictor, clock: Clock, progress: Progress
) -> tuple[VideoResult, dict[int, str]]:
    footage = VideoResult(recording, answerer.regions)
    watch = FaceTracker(look, clock, moving=not recording.still)
    try:
        for frame in clock.each("decoding", recording.frames()):
            arrived = perf_counter()
            answerer.take(footage, footage.read(frame), _seen(watch, frame, recording), arrived)
            progress.advance()
    except DataError as error:
        footage.fault = str(error)
    except OSError as error:
        footage.fault = f"{recording.path} cannot be read: {error.strerror or error}"
    return footage, watch.endings()


def _seen(watch: FaceTracker, frame: MediaFrame, recording: Recording) -> list[TrackedFace]:
    try:
        return watch(frame)
    except PluginError as error:
        raise PluginError(f"{recording.path} frame {frame.number}: {error}") from error


def _outcome(
    footage: VideoResult, endings: dict[int, str], answerer: FacePredictor, owners: dict[str, Recording]
) -> VideoPrediction:
    recording = footage.recording
    if footage.fault:
        return VideoPrediction(recording, None, faults=[footage.fault])
    clips = answerer.clips(footage, endings)
    for clip in clips:
        owner = owners.setdefault(clip.clip, recording)
        if owner is not recording:
            fault = f"{recording.path}: clip {clip.clip!r} is that of another input, {owner.path}"
            return VideoPrediction(recording, None, faults=[fault])
    faults = list(recording.faults)
    if not any(clip.seen.any() for clip in clips):
        faults.append(f"{recording.path}: no face in {len(footage):,} frame(s)")
    return VideoPrediction(recording, footage, clips, faults)
