"""From the answers to single faces to the smoothed predictions of each person's clip, with a row for every frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fusionkit.contracts.dataset import UNLABELLED, FrameTable
from fusionkit.predict.footage.footage import Footage


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
    footage: Footage, endings: Mapping[int, str], classes: int, smoothed: Smoothed
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
