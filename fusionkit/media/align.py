"""Photos and videos to aligned faces in the layout of Aff-Wild2, input after input, each finished one kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionkit.artifact import unwritable
from fusionkit.contracts.extractor import Extractor
from fusionkit.contracts.face import SIDE, Choice, Face, choose
from fusionkit.contracts.image_file import load_image
from fusionkit.errors import DataError, StorageError
from fusionkit.media.crops import CROPS, CropFolder
from fusionkit.media.inputs import MediaInput
from fusionkit.media.people import clip_endings
from fusionkit.media.record import FOLDER, AlignRecord, ClipRecord, records
from fusionkit.media.tracking import Track, Tracker
from fusionkit.media.video import MediaFrame, Video


@dataclass(frozen=True)
class AlignSettings:
    """How faces are aligned.

    Attributes:
        detector: identity of what finds the faces.
        people: every face of a frame, or one of them.
        side: of a crop in px.
        least: a face that is seen in fewer frames of a video is left out where there are others.
        patience: frames for which a face may be away and still count as the same.
    """

    detector: Mapping[str, Any]
    people: Choice | None = None
    side: int = SIDE
    least: int = 5
    patience: int = 30

    def state(self, source: Path) -> dict[str, Any]:
        """What decides the crops of a file, as JSON holds it."""
        status = source.stat()
        own = {"people": self.people, "side": self.side, "least": self.least, "patience": self.patience}
        return {"size": status.st_size, "changed": status.st_mtime_ns, "detector": dict(self.detector), **own}


@dataclass(frozen=True)
class AlignOutcome:
    """What became of one input.

    Attributes:
        item: the input.
        record: None where it could not be read at all.
        kept: whether it was done before.
        faults: what was wrong, a line each.
    """

    item: MediaInput
    record: AlignRecord | None
    kept: bool
    faults: list[str]


def align(inputs: list[MediaInput], detector: Extractor, settings: AlignSettings, out: Path) -> Iterator[AlignOutcome]:
    """Align one input after the other; what is wrong with one does not stop the others.

    Args:
        inputs: with different names.
        detector: finds faces.
        settings: how.
        out: ``cropped_aligned/<clip>/00001.jpg`` and ``align/`` are written below it.

    Yields:
        An outcome an input, as soon as it is there.

    Raises:
        StorageError: if the output cannot be written; what is finished is kept.
    """
    owners = {clip.clip: name for name, record in records(out).items() for clip in record.clips}
    for item in inputs:
        try:
            state = settings.state(item.path)
            before = AlignRecord.read(out / FOLDER / f"{item.name}.json")
            if before and before.state == state and all((out / CROPS / clip.clip).is_dir() for clip in before.clips):
                yield AlignOutcome(item, before, True, before.faults)
                continue
            record = _aligned(item, detector, settings, out, state, owners, before)
        except StorageError:
            raise
        except DataError as error:
            yield AlignOutcome(item, None, False, [str(error)])
        except OSError as error:
            yield AlignOutcome(item, None, False, [f"{item.path} cannot be read: {error.strerror or error}"])
        else:
            yield AlignOutcome(item, record, False, record.faults)


def _aligned(
    item: MediaInput,
    detector: Extractor,
    settings: AlignSettings,
    out: Path,
    state: dict[str, Any],
    owners: dict[str, str],
    before: AlignRecord | None,
) -> AlignRecord:
    """One input from its first frame to its record."""
    with CropFolder(out, item.name, settings.side) as crops:
        video = Video(item.path) if item.moving else None
        tracker = Tracker(settings.patience)
        frames, faces, seconds = 0, 0, 0.0
        for frame in video.frames() if video else photo(item.path):
            found = faces_of(detector, frame, settings.people)
            followed = tracker.follow(frame.number, [face.box for face in found])
            for face, track in zip(found, followed, strict=True):
                crops.add(track, frame, face)
            frames, faces = frame.number, faces + len(found)
            seconds = max(seconds, frame.seconds)  # NaN is never the larger one
        endings = clip_endings(tracker.tracks, settings.least if item.moving else 1)
        names = {number: f"{item.name}{ending}" for number, ending in endings.items()}
        for clip in names.values():
            if owners.setdefault(clip, item.name) != item.name:
                raise DataError(f"{item.path}: clip {clip!r} is that of another input, {owners[clip]!r}")
        kept = [track for track in tracker.tracks if track.number in names]
        record = AlignRecord(
            source=str(item.path),
            state=state,
            frames=frames,
            seconds=seconds,
            faces=faces,
            dropped=faces - sum(track.frames for track in kept),
            clips=_clips(kept, names),
            faults=[f"{item.path}: {fault}" for fault in _faults(video, frames, faces)],
        )
        crops.publish(names, [clip.clip for clip in before.clips] if before else [])
    record.write(out, item.name)
    return record


def photo(path: Path) -> Iterator[MediaFrame]:
    """A photo as a video of one frame."""
    yield MediaFrame(1, float("nan"), load_image(path))


def faces_of(detector: Extractor, frame: MediaFrame, people: Choice | None) -> list[Face]:
    """The faces of a frame that count: all of them, or the one that is asked for."""
    faces = detector.detect(frame.image)
    if people is None:
        return faces
    chosen = choose(faces, people, frame.image.shape[1], frame.image.shape[0])
    return [chosen] if chosen else []


def _faults(video: Video | None, frames: int, faces: int) -> list[str]:
    faults = list(video.faults) if video else []
    return faults if faces else [*faults, f"no face in {frames:,} frame(s)"]


def _clips(tracks: list[Track], names: Mapping[int, str]) -> list[ClipRecord]:
    """The clips by name, with the stretches of all their tracks."""
    held: dict[str, list[Track]] = {}
    for track in tracks:
        held.setdefault(names[track.number], []).append(track)
    return [
        ClipRecord(clip, sum(track.frames for track in own), sorted(run for track in own for run in track.runs))
        for clip, own in sorted(held.items())
    ]


def check_output(out: Path) -> None:
    """Make the output folder, before hours go into what cannot be kept.

    Raises:
        StorageError: if that is not possible.
    """
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        probe = out / FOLDER / ".probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise unwritable(out, error) from error
