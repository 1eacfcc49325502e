"""Align the faces of photos and videos, and write the crops in the layout of Aff-Wild2."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fusionkit.errors import DataError, FusionKitError, PluginError, StorageError, expanded
from fusionkit.media.crops import CHART, CROPS, REPORTS, CropFolder
from fusionkit.media.face_tracking import NO_FACE_HINT, BoxTracker, DetectionOptions, Track, clip_suffixes
from fusionkit.media.inputs import MediaInput
from fusionkit.media.turns import upright
from fusionkit.media.video import MediaFrame
from fusionkit.storage.artifact import unwritable, write_file

OnFrame = Callable[[MediaInput, int, "int | None"], None]
"""Called after each frame with the input, the number of frames read, and the declared number of frames or None."""


@dataclass(frozen=True)
class AlignedClip:
    """The crops of one clip.

    Attributes:
        clip: its name, also that of its folder.
        frames: number of crops.
        runs: first and last frame number of each run of frames with a crop.
    """

    clip: str
    frames: int
    runs: list[list[int]]


@dataclass(frozen=True)
class AlignedInput:
    """The stored result of one input, from which a later run skips it and reports on it.

    Attributes:
        source: path of the file, as it was given.
        state: of file and options; where it differs, the input is aligned again.
        frames: number of frames read; the share of frames with a face is of these.
        seconds: time of the last frame; 0 for a photo.
        faces: number of faces detected in all frames.
        dropped: number of them in tracks that were too short.
        clips: by name.
        faults: problems found while reading, one line each.
        turn: degrees by which its frames were turned clockwise; positions are those of the turned frames.
        first: number of the first frame.
        last: number of the last frame, by default of a video; of a folder of images, some between may be missing.
        rate: frames per second; None where times are unknown or the rate varies.
    """

    source: str
    state: dict[str, Any]
    frames: int
    seconds: float
    faces: int
    dropped: int
    clips: list[AlignedClip] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    turn: int = 0
    first: int = 1
    last: int | None = None
    rate: float | None = None

    @property
    def end(self) -> int:
        """Return the number of the last frame."""
        return self.frames if self.last is None else self.last

    def write(self, out: Path, name: str) -> None:
        """Store the result; from then on the input counts as done.

        Raises:
            StorageError: if it cannot be written.
        """
        write_file(out / REPORTS / f"{name}.json", json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, path: Path) -> AlignedInput | None:
        """Read a stored result; None where it is missing or damaged."""
        try:
            stored = json.loads(path.read_bytes())
            return cls(**{**stored, "clips": [AlignedClip(**clip) for clip in stored["clips"]]})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @classmethod
    def read_all(cls, out: Path) -> dict[str, AlignedInput]:
        """Read all results of an output folder, by name of the input."""
        found = {path.stem: cls.read(path) for path in sorted((out / REPORTS).glob("*.json"))}
        return {name: one for name, one in found.items() if one is not None}


@dataclass(frozen=True)
class AlignOutcome:
    """What happened to one input.

    Attributes:
        path: the file.
        name: of the input.
        result: None where the file cannot be read.
        reused: whether an earlier run had aligned it.
        faults: what was wrong, one line each.
    """

    path: Path
    name: str
    result: AlignedInput | None
    reused: bool
    faults: list[str]


def align(
    inputs: Sequence[MediaInput],
    options: DetectionOptions,
    identity: Mapping[str, Any],
    out: Path,
    on_frame: OnFrame = lambda _item, _number, _expected: None,
) -> Iterator[AlignOutcome]:
    """Align inputs one after the other; an input that fails does not stop the others.

    Args:
        inputs: photos, videos and folders of images, with different names.
        options: of detection, with a detector.
        identity: of the detector, as JSON; crops of another detector are not reused.
        out: the crops go to ``cropped_aligned/<folder>/<clip>/00001.jpg`` and the reports to ``align/`` below it, where
            ``<folder>`` is the folder of the input below the one that was given.
        on_frame: called after each frame.

    Yields:
        The outcome of each input, as soon as it is finished.

    Raises:
        StorageError: if the output cannot be written; finished inputs stay.
    """
    assert options.detector is not None
    owners = {clip.clip: name for name, result in AlignedInput.read_all(out).items() for clip in result.clips}
    for item in inputs:
        try:
            state = _state(item, options, identity)
            before = AlignedInput.read(out / REPORTS / f"{item.report_name}.json")
            if before and before.state == state and all((out / CROPS / clip.clip).is_dir() for clip in before.clips):
                yield AlignOutcome(item.path, item.report_name, before, True, before.faults)
                continue
            with CropFolder(out, item.report_name, options.side, state) as crops:
                result = _Aligner(upright(item, options), options, crops, on_frame).run(state, owners, before)
            result.write(out, item.report_name)
        except StorageError:
            raise
        except FusionKitError as error:
            yield AlignOutcome(item.path, item.report_name, None, False, [str(error)])
        except OSError as error:
            fault = f"{item.path} cannot be read: {error.strerror or error}"
            yield AlignOutcome(item.path, item.report_name, None, False, [fault])
        else:
            yield AlignOutcome(item.path, item.report_name, result, False, result.faults)


def output_paths(out: Path) -> list[Path]:
    """Return the folders and pictures of an output folder, which must not be read as inputs."""
    return [out / CROPS, out / REPORTS, out / CHART]


def written_below(inputs: Iterable[str | Path], written: Iterable[Path]) -> list[Path]:
    """Return those of some paths that exist in a folder of the inputs, or below one."""
    folders = [expanded(item).resolve() for item in inputs]
    return [path for path in written if path.exists() and any(path.resolve().is_relative_to(top) for top in folders)]


def check_output(out: Path) -> None:
    """Create the output folder and test that it can be written, before any work is done.

    Raises:
        StorageError: if it cannot.
    """
    try:
        (out / REPORTS).mkdir(parents=True, exist_ok=True)
        probe = out / REPORTS / ".probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise unwritable(out, error) from error


def _state(item: MediaInput, options: DetectionOptions, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the crops of an input, as JSON."""
    status = [path.stat() for path in ([path for _, path in item.images] or [item.path])]
    images = {"images": [number for number, _ in item.images]} if item.images else {}
    return {
        **images,
        "size": sum(one.st_size for one in status),
        "changed": max(one.st_mtime_ns for one in status),
        "detector": dict(identity),
        "people": options.people,
        "side": options.side,
        "min_frames": options.min_frames,
        "patience": options.patience,
        "rotate": options.rotate,
    }


class _Aligner:
    """Read one input and collect its crops."""

    def __init__(self, item: MediaInput, options: DetectionOptions, crops: CropFolder, on_frame: OnFrame) -> None:
        self.item, self.options, self.crops, self.on_frame = item, options, crops, on_frame
        self.reader = item.open()
        self.tracker = BoxTracker(options.patience)
        self.last, self.faces, self.seconds = -1, 0, 0.0

    def run(self, state: dict[str, Any], owners: dict[str, str], before: AlignedInput | None) -> AlignedInput:
        """Read the frames that an interrupted run has not read, and publish the crops."""
        for number, seconds, boxes in self.crops.resumed_frames():
            self.tracker.follow(number, boxes)
            self._count(number, seconds, len(boxes))
        for frame in self.reader.frames(after=self.last):
            self._add(frame)
        names = self._clip_names(owners)
        kept = [track for track in self.tracker.tracks if track.number in names]
        self.crops.publish(names, [clip.clip for clip in before.clips] if before else [])
        faults = list(self.reader.faults)
        frames = self.reader.count
        if not self.faces:
            faults.append(f"{self.item.path}: no face found in {frames:,} frame(s) ({NO_FACE_HINT})")
        if self.item.images and (left := _frames(self.tracker.tracks) - _frames(kept)):
            seen = f"{len(left)} of {frames} images have faces, but in too few images for a clip, and get no crop"
            faults.append(f"{self.item.path}: {seen}; the first is number {min(left)} (--min-frames 1 keeps them)")
        if doubts := self.tracker.doubts(names):
            faults.append(f"{self.item.path}: {doubts}")
        first, last = self.reader.span
        return AlignedInput(
            source=str(self.item.path),
            state=state,
            frames=frames,
            seconds=self.seconds,
            faces=self.faces,
            dropped=self.faces - sum(track.frames for track in kept),
            clips=_clips(kept, names),
            faults=faults,
            turn=self.item.turn,
            first=first,
            last=last,
            rate=self.reader.rate,
        )

    def _add(self, frame: MediaFrame) -> None:
        try:
            faces = self.options.detect(frame)
        except PluginError as error:
            raise PluginError(f"{self.item.path} frame {frame.number}: {error}") from error
        tracks = self.tracker.follow(frame.number, [face.box for face in faces])
        for face, track in zip(faces, tracks, strict=True):
            self.crops.add(track, frame, face)
        self._count(frame.number, frame.seconds, len(faces))
        self.on_frame(self.item, self.reader.count, self.reader.expected)

    def _count(self, number: int, seconds: float, faces: int) -> None:
        self.last, self.faces = number, self.faces + faces
        self.seconds = max(self.seconds, seconds)  # in this order, max ignores NaN

    def _clip_names(self, owners: dict[str, str]) -> dict[int, str]:
        """Return the clip name of each track that is kept.

        Raises:
            DataError: if another input has a clip of this name.
        """
        suffixes = clip_suffixes(self.tracker.tracks, 1 if self.item.is_photo else self.options.min_frames)
        names = {number: f"{self.item.clip_name}{suffix}" for number, suffix in suffixes.items()}
        for clip in names.values():
            if owners.setdefault(clip, self.item.report_name) != self.item.report_name:
                raise DataError(
                    f"{self.item.path}: input {owners[clip]!r} already has a clip {clip!r}",
                    hint="rename one of the files",
                )
        return names


def _frames(tracks: Sequence[Track]) -> set[int]:
    """Return the numbers of the frames that have a face of a track."""
    return {number for track in tracks for first, last in track.runs for number in range(first, last + 1)}


def _clips(tracks: list[Track], names: Mapping[int, str]) -> list[AlignedClip]:
    """Return the clips by name, each with the runs of all its tracks."""
    by_clip: dict[str, list[Track]] = {}
    for track in tracks:
        by_clip.setdefault(names[track.number], []).append(track)
    return [
        AlignedClip(clip, sum(track.frames for track in own), sorted(run for track in own for run in track.runs))
        for clip, own in sorted(by_clip.items())
    ]
