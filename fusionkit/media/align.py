"""Photos and videos to aligned faces in the layout of Aff-Wild2, input after input, each finished one kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusionkit.contracts.extractor import SIDE, Choice, Extractor
from fusionkit.contracts.image_file import load_image
from fusionkit.errors import DataError, FusionKitError, PluginError, StorageError
from fusionkit.media.align_record import FOLDER, AlignRecord, ClipRecord, records
from fusionkit.media.crops import CROPS, CropFolder
from fusionkit.media.face_tracking import BoxTracker, Track, clip_suffixes, faces_of
from fusionkit.media.inputs import MediaInput
from fusionkit.media.video import MediaFrame, Video
from fusionkit.storage.artifact import unwritable


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


Watch = Callable[[MediaInput, int, "int | None"], None]
"""Told of each frame that was read: the input, the frame's number, and how many there should be where that is known."""


def align(
    inputs: Sequence[MediaInput],
    detector: Extractor,
    settings: AlignSettings,
    out: Path,
    watch: Watch = lambda _item, _number, _expected: None,
) -> Iterator[AlignOutcome]:
    """Align one input after the other; what is wrong with one does not stop the others.

    Args:
        inputs: with different names.
        detector: finds faces.
        settings: how.
        out: ``cropped_aligned/<folder>/<clip>/00001.jpg`` and ``align/`` are written below it; ``<folder>`` is that of
            the input below the folder that was asked for.
        watch: told of each frame.

    Yields:
        An outcome an input, as soon as it is there.

    Raises:
        StorageError: if the output cannot be written; what is finished is kept.
        PluginError: if the detector finds no faces at all.
    """
    if not detector.finds_faces:
        raise PluginError(
            f"extractor {type(detector).__name__} says where regions are, but finds no faces",
            hint="take a detector, as yunet or insightface",
        )
    owners = {clip.clip: name for name, record in records(out).items() for clip in record.clips}
    for item in inputs:
        try:
            state = settings.state(item.path)
            before = AlignRecord.read(out / FOLDER / f"{item.name}.json")
            if before and before.state == state and all((out / CROPS / clip.clip).is_dir() for clip in before.clips):
                yield AlignOutcome(item, before, True, before.faults)
                continue
            with CropFolder(out, item.name, settings.side, state) as crops:
                record = _Aligner(item, detector, settings, crops, watch).record(state, owners, before)
            record.write(out, item.name)
        except StorageError:
            raise
        except FusionKitError as error:
            yield AlignOutcome(item, None, False, [str(error)])
        except OSError as error:
            yield AlignOutcome(item, None, False, [f"{item.path} cannot be read: {error.strerror or error}"])
        else:
            yield AlignOutcome(item, record, False, record.faults)


class _Aligner:
    """One input from its first frame to its record."""

    def __init__(
        self, item: MediaInput, detector: Extractor, settings: AlignSettings, crops: CropFolder, watch: Watch
    ) -> None:
        self.item, self.detector, self.settings, self.crops, self.watch = item, detector, settings, crops, watch
        self.video = Video(item.path) if item.moving else None
        self.tracker = BoxTracker(settings.patience)
        self.frames, self.faces, self.seconds = 0, 0, 0.0

    def record(self, state: dict[str, Any], owners: dict[str, str], before: AlignRecord | None) -> AlignRecord:
        """Read all frames, publish the crops, and say what became of them."""
        for number, seconds, boxes in self.crops.earlier():
            self.tracker.follow(number, boxes)
            self._count(number, seconds, len(boxes))
        for frame in self.video.frames(after=self.frames) if self.video else _photo(self.item.path):
            self._see(frame)
        names = self._names(owners)
        kept = [track for track in self.tracker.tracks if track.number in names]
        self.crops.publish(names, [clip.clip for clip in before.clips] if before else [])
        return AlignRecord(
            source=str(self.item.path),
            state=state,
            frames=self.frames,
            seconds=self.seconds,
            faces=self.faces,
            dropped=self.faces - sum(track.frames for track in kept),
            clips=_clips(kept, names),
            faults=[f"{self.item.path}: {fault}" for fault in _faults(self.video, self.frames, self.faces)],
        )

    def _see(self, frame: MediaFrame) -> None:
        try:
            found = faces_of(self.detector, frame, self.settings.people)
        except PluginError as error:
            raise PluginError(f"{self.item.path} frame {frame.number}: {error}") from error
        followed = self.tracker.follow(frame.number, [face.box for face in found])
        for face, track in zip(found, followed, strict=True):
            self.crops.add(track, frame, face)
        self._count(frame.number, frame.seconds, len(found))
        self.watch(self.item, frame.number, self.video.expected if self.video else 1)

    def _count(self, number: int, seconds: float, faces: int) -> None:
        self.frames, self.faces = number, self.faces + faces
        self.seconds = max(self.seconds, seconds)  # NaN is never the larger one

    def _names(self, owners: dict[str, str]) -> dict[int, str]:
        """The clip of each track that counts.

        Raises:
            DataError: if another input has one that is called the same.
        """
        endings = clip_suffixes(self.tracker.tracks, self.settings.least if self.item.moving else 1)
        stem = f"{self.item.folder}/{self.item.name}".removeprefix("/")
        names = {number: f"{stem}{ending}" for number, ending in endings.items()}
        for clip in names.values():
            if owners.setdefault(clip, self.item.name) != self.item.name:
                raise DataError(f"{self.item.path}: clip {clip!r} is that of another input, {owners[clip]!r}")
        return names


def _photo(path: Path) -> Iterator[MediaFrame]:
    yield MediaFrame(1, float("nan"), load_image(path))


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
