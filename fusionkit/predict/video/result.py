"""The frames and faces of one input in compact columns, and the predicted clips that are made from them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from fusionkit.contracts.dataset import UNLABELLED, FrameTable
from fusionkit.media.inputs import MediaInput
from fusionkit.media.video import MediaFrame


class Column:
    """A growing array, stored without per-row overhead.

    Args:
        dtype: of a row: a number, or a structured dtype.
        shape: of a row.
    """

    def __init__(self, dtype: DTypeLike, shape: tuple[int, ...] = ()) -> None:
        self._dtype, self._shape = np.dtype(dtype), shape
        self._bytes = array("B")

    def __len__(self) -> int:
        return len(self._bytes) // (self._dtype.itemsize * int(np.prod(self._shape)))

    def add(self, rows: object) -> None:
        """Append one row, or (k, *shape) rows."""
        self._bytes.frombytes(np.ascontiguousarray(rows, self._dtype).tobytes())

    @property
    def values(self) -> np.ndarray:
        """Return all rows, (n, *shape)."""
        return np.frombuffer(self._bytes.tobytes(), self._dtype).reshape(-1, *self._shape)


class FaceRow(NamedTuple):
    """A face in a frame, without its crop.

    Attributes:
        frame: index of the frame in the input, from 0.
        track: number of its track; of a stream, of its clip.
        box: (4,) in px of the frame.
        to_frame: (2, 3) from pixels of the crop to pixels of the frame.
    """

    frame: int
    track: int
    box: np.ndarray
    to_frame: np.ndarray


@dataclass(frozen=True, eq=False)
class ClipPredictions:
    """The predictions of one clip: one face in one input.

    Attributes:
        clip: its name.
        frames: (t,) indices of its frames in the input, ascending.
        faces: (t,) index of its face in the :class:`VideoResult`; -1 where there is none.
        seen: (t,) bool: there is a face with a view; other rows are imputed.
        probs: (t, C) float64, rows sum to one, or NaN without a prediction.
    """

    clip: str
    frames: np.ndarray
    faces: np.ndarray
    seen: np.ndarray
    probs: np.ndarray


@dataclass(eq=False)
class VideoResult:
    """The result of one input; it takes some hundred bytes per face, whatever the size of the frames.

    With a fusion over time, a smoother of embeddings or a head of clips, it holds the features of each face, too.

    Attributes:
        source: the input.
        regions: names of the R regions that views are cut from.
        failed: whether the input could not be read to its end; then there are no clips.
        faults: what was wrong, one line each.
        clips: the predictions.
        elapsed: s that reading and predicting took.
        rate: frames per second; None where times are unknown or the rate varies.
        frames: (n,) of ``number`` and ``seconds``, NaN where the time is unknown.
        faces: (m,) of ``frame``, ``track``, ``box`` and ``to_frame``, see :class:`FaceRow`, and ``boxes`` (R, 5) of the
            regions in the crop, NaN where not found.
        outputs: of each head, (m, C), (m, D) or (m, V + D); of heads of clips one column, (m, V + D), for all; of a
            stream one of (m, C) probabilities.
        latency: of a stream, (m,) s from the decoded frame to the prediction.
    """

    source: MediaInput
    regions: tuple[str, ...]
    failed: bool = False
    faults: list[str] = field(default_factory=list)
    clips: list[ClipPredictions] = field(default_factory=list)
    elapsed: float = 0.0
    rate: float | None = None
    outputs: list[Column] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frames = Column([("number", np.int64), ("seconds", np.float64)])
        self.faces = Column(
            [
                ("frame", np.int64),
                ("track", np.int64),
                ("box", np.float32, (4,)),
                ("to_frame", np.float64, (2, 3)),
                ("boxes", np.float32, (len(self.regions), 5)),
            ]
        )
        self.latency = Column(np.float64)

    def __len__(self) -> int:
        return len(self.frames)

    def add_frame(self, frame: MediaFrame) -> int:
        """Add a frame and return its index."""
        self.frames.add((frame.number, frame.seconds))
        return len(self.frames) - 1

    def add_face(self, face: FaceRow, boxes: dict[str, np.ndarray], outputs: Sequence[np.ndarray]) -> None:
        """Add a face, the boxes of its regions in the crop, and one output per head."""
        self.faces.add((*face, [boxes[region] for region in self.regions] or np.empty((0, 5))))
        self.outputs = self.outputs or [Column(np.float32, output.shape) for output in outputs]
        for column, output in zip(self.outputs, outputs, strict=True):
            column.add(output)

    def fail(self, fault: str) -> None:
        """Drop the predictions: the input cannot be used."""
        self.failed, self.faults, self.clips = True, [fault], []

    def coverage(self, clip: ClipPredictions) -> float:
        """Return the share of the input's frames in which the clip has a face, as ``align`` reports it."""
        return float(clip.seen.sum()) / len(self)

    def suffix(self, clip: str) -> str:
        """Return what tells a clip of the input from the others: ``left``, ``2``, or nothing."""
        return clip[len(self.source.clip_name) :].lstrip("_")


Smooth = Callable[[FrameTable, list[np.ndarray]], np.ndarray]
"""Compute the probabilities (t, C) of a clip from its frames and the outputs of each head, NaN without a face."""


def clip_predictions(
    result: VideoResult, suffixes: Mapping[int, str], classes: int, smooth: Smooth
) -> list[ClipPredictions]:
    """Return the clips of an input.

    One or two clips have a row for every frame. Of more, each has the frames from its first face to its last, and
    frames without any face are a clip with the name of the input. A clip without any view has no probabilities.

    Args:
        result: all frames and faces.
        suffixes: of the clip name, by track; other tracks are ignored.
        classes: number of classes.
        smooth: computes probabilities.
    """
    name, count = result.source.clip_name, len(result)
    tracks_by_clip: dict[str, list[int]] = {}
    for number, suffix in suffixes.items():
        tracks_by_clip.setdefault(f"{name}{suffix}", []).append(number)
    every_frame = len(tracks_by_clip) <= 2
    track, frame = result.faces.values["track"], result.faces.values["frame"]
    numbers = result.frames.values["number"]
    outputs = [column.values for column in result.outputs]
    found = []
    for clip, tracks in sorted(tracks_by_clip.items(), key=lambda item: (len(item[0]), item[0])):
        rows = np.flatnonzero(np.isin(track, tracks))
        if not len(rows):
            continue
        at = frame[rows]
        frames = np.arange(count) if every_frame else np.arange(at.min(), at.max() + 1)
        faces = np.full(len(frames), -1)
        faces[at - frames[0]] = rows
        by_frame = [_by_frame(output, faces) for output in outputs]
        seen = ~np.isnan(by_frame[0][:, 0])
        if not seen.any():
            found.append(_without_probs(clip, frames, faces, classes))
            continue
        unlabelled = np.full(len(frames), UNLABELLED)
        table = FrameTable.of(np.full(len(frames), clip), numbers[frames], unlabelled, rate=result.rate)
        found.append(ClipPredictions(clip, frames, faces, seen, smooth(table, by_frame)))
    rest = np.setdiff1d(np.arange(count), np.concatenate([[], *(clip.frames for clip in found)]).astype(int))
    if len(rest):
        found.append(_without_probs(name, rest, np.full(len(rest), -1), classes))
    return found


def _by_frame(output: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the output by frame, NaN without a face."""
    out = np.full((len(faces), *output.shape[1:]), np.nan, np.float32)
    out[faces >= 0] = output[faces[faces >= 0]]
    return out


def _without_probs(clip: str, frames: np.ndarray, faces: np.ndarray, classes: int) -> ClipPredictions:
    seen = np.zeros(len(frames), dtype=bool)
    return ClipPredictions(clip, frames, faces, seen, np.full((len(frames), classes), np.nan))
