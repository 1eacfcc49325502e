"""Rows of numbers that are added as they come, packed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fusionkit.contracts.dataset import UNLABELLED, FrameTable
from fusionkit.media.face_tracking import TrackedFace
from fusionkit.media.recording import Recording
from fusionkit.media.video import MediaFrame


class Column:
    """Rows of one shape, in as many bytes as they have, with room to grow.

    Args:
        kind: of the numbers, float32 or int64 for example.
        shape: of a row.
    """

    def __init__(self, kind: type[np.generic], shape: tuple[int, ...] = ()) -> None:
        self._kind, self._shape = np.dtype(kind), shape
        self._bytes = array("B")

    def __len__(self) -> int:
        return len(self._bytes) // (self._kind.itemsize * int(np.prod(self._shape)))

    def add(self, rows: object) -> None:
        """More rows, (k, *shape)."""
        self._bytes.frombytes(np.ascontiguousarray(rows, self._kind).tobytes())

    def __getitem__(self, row: int) -> np.ndarray:
        """One row, (*shape)."""
        size = self._kind.itemsize * int(np.prod(self._shape))
        return np.frombuffer(self._bytes[row * size : (row + 1) * size].tobytes(), self._kind).reshape(self._shape)

    @property
    def values(self) -> np.ndarray:
        """All rows, (n, *shape)."""
        return np.frombuffer(self._bytes.tobytes(), self._kind).reshape(-1, *self._shape)


@dataclass(frozen=True, eq=False)
class FaceRow:
    """A face in a frame, without its picture.

    Attributes:
        frame: place of the frame in the recording, from 0.
        track: which face.
        box: (4,) in px of the frame.
        to_frame: (2, 3) from pixels of the crop to those of the frame.
    """

    frame: int
    track: int
    box: np.ndarray
    to_frame: np.ndarray

    @classmethod
    def of(cls, frame: int, sighting: TrackedFace) -> FaceRow:
        """Of what was seen in a frame."""
        return cls(frame, sighting.track, sighting.box, sighting.to_frame)


@dataclass(eq=False)
class VideoResult:
    """The log of one recording; some hundred bytes a face, whatever the size of frames and embeddings.

    Attributes:
        recording: what was read.
        regions: R names of the regions that views are cut from.
        numbers: (n,) of the frames.
        seconds: (n,) when they are shown, NaN where nobody says.
        frame, track, box, to_frame: of m faces, as :class:`FaceRow` says.
        answers: of each head, (m, C) or (m, D) evidence.
        fault: why it could not be read to its end; empty where it could.
    """

    recording: Recording
    regions: tuple[str, ...]
    fault: str = ""
    numbers: Column = field(default_factory=lambda: Column(np.int64))
    seconds: Column = field(default_factory=lambda: Column(np.float64))
    frame: Column = field(default_factory=lambda: Column(np.int64))
    track: Column = field(default_factory=lambda: Column(np.int64))
    box: Column = field(default_factory=lambda: Column(np.float32, (4,)))
    to_frame: Column = field(default_factory=lambda: Column(np.float64, (2, 3)))
    answers: list[Column] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def boxes(self) -> np.ndarray:
        """(m, R, 5) of the regions in the crop, NaN where not found."""
        return self._boxes.values if self.regions else np.empty((len(self.frame), 0, 5), np.float32)

    @cached_property
    def _boxes(self) -> Column:
        return Column(np.float32, (len(self.regions), 5))

    def number(self, place: int) -> int:
        """The number of a frame."""
        return int(self.numbers[place])

    def read(self, frame: MediaFrame) -> int:
        """Another frame; its place."""
        self.numbers.add(frame.number)
        self.seconds.add(frame.seconds)
        return len(self.numbers) - 1

    def answered(self, face: FaceRow, boxes: dict[str, np.ndarray], answers: Sequence[np.ndarray]) -> None:
        """A face, with the boxes of its regions in the crop and what each head makes of it."""
        self.frame.add(face.frame)
        self.track.add(face.track)
        self.box.add(face.box)
        self.to_frame.add(face.to_frame)
        if self.regions:
            self._boxes.add([boxes[region] for region in self.regions])
        if not self.answers:
            self.answers += [Column(np.float32, answer.shape) for answer in answers]
        for column, answer in zip(self.answers, answers, strict=True):
            column.add(answer)


@dataclass(frozen=True, eq=False)
class ClipPredictions:
    """What a cell says of one person in one recording.

    Attributes:
        clip: its name.
        frames: (t,) places of its frames in the recording, rising.
        faces: (t,) place of its face in the footage; -1 where it has none.
        seen: (t,) bool: there is a face with a view; elsewhere a row is imputed.
        probs: (t, C) float64, rows sum to one, or NaN where nothing can be said.
    """

    clip: str
    frames: np.ndarray
    faces: np.ndarray
    seen: np.ndarray
    probs: np.ndarray


Smoothed = Callable[[FrameTable, list[np.ndarray]], np.ndarray]
"""From a clip's frames and the answers to them, NaN without a face, to probabilities (t, C)."""


def predicted_clips(
    footage: VideoResult, endings: Mapping[int, str], classes: int, smoothed: Smoothed
) -> list[ClipPredictions]:
    """The clips of a recording.

    One person, or two: each has a row for every frame. More: each from the first frame to the last in which they are
    seen, and frames without anybody have a row by the name of the recording. A clip in which no face has a view has no
    probabilities.

    Args:
        footage: finished.
        endings: behind the recording's name, by track; faces of other tracks do not count.
        classes: how many.
        smoothed: makes probabilities of answers.
    """
    name, count = footage.recording.name, len(footage)
    members: dict[str, list[int]] = {}
    for number, ending in endings.items():
        members.setdefault(f"{name}{ending}", []).append(number)
    whole = len(members) <= 2
    track, frame, numbers = footage.track.values, footage.frame.values, footage.numbers.values
    answers = [column.values for column in footage.answers]
    found = []
    for clip, tracks in sorted(members.items(), key=lambda item: (len(item[0]), item[0])):
        rows = np.flatnonzero(np.isin(track, tracks))
        if not len(rows):
            continue
        at = frame[rows]
        frames = np.arange(count) if whole else np.arange(at.min(), at.max() + 1)
        faces = np.full(len(frames), -1)
        faces[at - frames[0]] = rows
        evidence = [_spread(answer, faces) for answer in answers]
        seen = ~np.isnan(evidence[0][:, 0])
        if not seen.any():
            found.append(_silent(clip, frames, faces, classes))
            continue
        table = FrameTable.of(np.full(len(frames), clip), numbers[frames], np.full(len(frames), UNLABELLED))
        found.append(ClipPredictions(clip, frames, faces, seen, smoothed(table, evidence)))
    nobody = np.setdiff1d(np.arange(count), np.concatenate([[], *(clip.frames for clip in found)]).astype(int))
    if len(nobody):
        found.append(_silent(name, nobody, np.full(len(nobody), -1), classes))
    return found


def _spread(answer: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Rows by frame: NaN where there is no face."""
    out = np.full((len(faces), *answer.shape[1:]), np.nan, np.float32)
    out[faces >= 0] = answer[faces[faces >= 0]]
    return out


def _silent(clip: str, frames: np.ndarray, faces: np.ndarray, classes: int) -> ClipPredictions:
    seen = np.zeros(len(frames), dtype=bool)
    return ClipPredictions(clip, frames, faces, seen, np.full((len(frames), classes), np.nan))
