"""Which face of a frame is which face of the frames before: tracks, by overlap and nearness of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_OVERLAP = 0.3  # least intersection over union of a face with itself a frame later
_NEAR = 0.5  # of the box's size: as far the centre may have moved where boxes do not overlap so much


@dataclass
class Track:
    """One face as long as it was followed.

    Attributes:
        number: from 0, in the order of appearance.
        box: (4,) where it was last.
        runs: first and last frame of each stretch in which it was seen, in order.
        frames: in which it was seen.
        x: mean of its boxes' centres, in px from the left.
    """

    number: int
    box: np.ndarray
    runs: list[list[int]]
    frames: int = 0
    x: float = 0.0

    @property
    def first(self) -> int:
        """The frame in which it appeared."""
        return self.runs[0][0]

    @property
    def last(self) -> int:
        """The frame in which it was seen last."""
        return self.runs[-1][1]

    def see(self, frame: int, box: np.ndarray) -> None:
        """Take in where it is in a later frame."""
        self.box = box
        if frame <= self.last + 1:
            self.runs[-1][1] = frame
        else:
            self.runs.append([frame, frame])
        self.frames += 1
        self.x += (float(box[0] + box[2]) / 2 - self.x) / self.frames


@dataclass
class Tracker:
    """Follows faces from frame to frame; memory grows with the number of tracks, not with that of frames.

    A face goes on with the track whose last box it overlaps most, then with the one that it is nearest to. A track that
    was not seen for ``patience`` frames has ended; whoever comes then is somebody new.

    Attributes:
        patience: in frames.
        tracks: all there were, in the order of appearance.
    """

    patience: int = 30
    tracks: list[Track] = field(default_factory=list)
    _live: list[Track] = field(default_factory=list)

    def follow(self, frame: int, boxes: Sequence[np.ndarray]) -> list[int]:
        """The track's number of each face of a frame; frames come in order.

        Args:
            frame: its number.
            boxes: (4,) left, top, right, bottom of each face.
        """
        self._live = [track for track in self._live if frame - track.last <= self.patience]
        known = _matched([track.box for track in self._live], boxes)
        followed = []
        for place, box in enumerate(boxes):
            at = known.get(place)
            track = self._live[at] if at is not None else self._started(frame, box)
            track.see(frame, box)
            followed.append(track.number)
        return followed

    def _started(self, frame: int, box: np.ndarray) -> Track:
        track = Track(len(self.tracks), box, [[frame, frame]])
        self.tracks.append(track)
        self._live.append(track)
        return track


def _matched(before: Sequence[np.ndarray], now: Sequence[np.ndarray]) -> dict[int, int]:
    """Which of the boxes before each of the boxes now goes on with, each at most once, the best pairs first."""
    pairs = []
    for at, old in enumerate(before):
        for place, new in enumerate(now):
            overlap, distance = _overlap(old, new), _distance(old, new)
            if overlap >= _OVERLAP:
                pairs.append((0, -overlap, at, place))
            elif distance <= _NEAR:
                pairs.append((1, distance, at, place))
    matched: dict[int, int] = {}
    for _, _, at, place in sorted(pairs):
        if place not in matched and at not in matched.values():
            matched[place] = at
    return matched


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Between centres, in sizes of a box; infinite where one is more than twice as large as the other."""
    sizes = [float(np.sqrt(np.prod(box[2:] - box[:2]))) for box in (one, other)]
    if max(sizes) > 2 * min(sizes):
        return float("inf")
    return float(np.linalg.norm((one[:2] + one[2:] - other[:2] - other[2:]) / 2)) / (sum(sizes) / 2)
