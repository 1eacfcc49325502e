"""Which face of a frame is which face of the frames before: tracks, by overlap and nearness of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fusionkit.contracts.extractor import SIDE, Choice, Extractor, Face, choose
from fusionkit.contracts.image_file import decoded
from fusionkit.errors import ConfigError
from fusionkit.media.aligned import aligned, rescaled
from fusionkit.media.clock import Clock
from fusionkit.media.crops import jpeg
from fusionkit.media.video import MediaFrame
from fusionkit.registry import EXTRACTORS
from fusionkit.registry.spec import Spec

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
class BoxTracker:
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


def clip_suffixes(tracks: Sequence[Track], least: int) -> dict[int, str]:
    """What is put behind the video's name for each track; tracks of one ending make one clip.

    Tracks that are seen in fewer frames than ``least`` are left out, unless there are no others. Of those that remain:

    - never two at a time: one person, and nothing is put behind; cuts do not make a new person;
    - two at a time at most: ``_left`` and ``_right``, as in Aff-Wild2. A track keeps its side for as long as it lasts;
      of two that share frames the one that is further left on average is left. One that shares frames with no other
      goes to the side whose mean it is nearer to;
    - more at a time: nobody can say who comes back after a cut. Each track is a clip of its own, ``_1``, ``_2``, ... in
      the order of appearance, from left to right where several appear together.

    Args:
        tracks: of one video.
        least: in frames.

    Returns:
        By the track's number.
    """
    kept = [track for track in tracks if track.frames >= least] or list(tracks)
    crowd = _most_at_once(kept)
    if crowd <= 1:
        return {track.number: "" for track in kept}
    if crowd == 2:
        scored_rows = _sides(kept)
        return {number: "_right" if right else "_left" for number, right in scored_rows.items()}
    order = sorted(kept, key=lambda track: (track.first, track.x))
    return {track.number: f"_{place}" for place, track in enumerate(order, 1)}


def _most_at_once(tracks: Sequence[Track]) -> int:
    changes = sorted([(track.first, 1) for track in tracks] + [(track.last + 1, -1) for track in tracks])
    return int(np.cumsum([step for _, step in changes]).max(initial=0))


def _sides(tracks: Sequence[Track]) -> dict[int, bool]:
    """Whether each track is the right one of two.

    Tracks that share frames hang together; where at most two share any frame, each such group has exactly one division
    into two scored_rows, which is then turned the right way round.
    """
    scored_rows: dict[int, bool] = {}
    alone = []
    for group in _groups(tracks):
        if len(group) == 1:
            alone.append(group[0])
            continue
        division = {group[0].number: False}
        further = 0.0
        for place, track in enumerate(group):
            for other in group[place + 1 :]:
                if _together(track, other):
                    division[other.number] = not division[track.number]
                    further += (other.x - track.x) * (1 if division[other.number] else -1)
        scored_rows |= {number: right == bool(further > 0) for number, right in division.items()}
    means = [float(np.mean([t.x for t in tracks if scored_rows.get(t.number) is right])) for right in (False, True)]
    return scored_rows | {track.number: abs(track.x - means[1]) < abs(track.x - means[0]) for track in alone}


def _groups(tracks: Sequence[Track]) -> list[list[Track]]:
    """Tracks that share frames, directly or through others; each group in the order of appearance."""
    groups: list[list[Track]] = []
    end = -1
    for track in sorted(tracks, key=lambda track: (track.first, track.number)):
        if track.first > end:
            groups.append([])
        groups[-1].append(track)
        end = max(end, track.last)
    return groups


def _together(one: Track, other: Track) -> bool:
    return one.first <= other.last and other.first <= one.last


@dataclass(frozen=True)
class DetectionOptions:
    """How faces are looked for; what is not said is as ``align`` does it.

    Attributes:
        detector: finds them; None: every frame is an aligned face already.
        people: every face of a frame, or one of them.
        side: of a crop in px.
        least: a face that is seen in fewer frames of a video is left out where there are others.
        patience: frames for which a face may be away and still count as the same.
    """

    detector: Extractor | None = None
    people: Choice | None = None
    side: int = SIDE
    least: int = 5
    patience: int = 30


def face_finder(spec: Spec) -> Extractor:
    """The extractor, which must find faces.

    Raises:
        ConfigError: if it does not, or cannot be built.
    """
    built: Extractor = EXTRACTORS.build(spec)
    if not built.finds_faces:
        raise ConfigError(
            f"extractor {spec} says where regions are but finds no faces", hint="yunet and insightface do"
        )
    return built


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face in a frame.

    Attributes:
        track: its number in the recording.
        box: (4,) left, top, right, bottom in px of the frame.
        to_frame: (2, 3) from pixels of the crop to those of the frame, as ``cv2.transform`` takes it.
        crop: RGB uint8 (side, side, 3), as it is read from a file that ``align`` has written.
    """

    track: int
    box: np.ndarray
    to_frame: np.ndarray
    crop: np.ndarray


class FaceTracker:
    """Looks at the frames of one recording in order.

    Args:
        look: how.
        clock: told how long looking and cutting take.
        moving: whether there may be more than one frame.
    """

    def __init__(self, look: DetectionOptions, clock: Clock, *, moving: bool) -> None:
        self._look, self._clock, self._moving = look, clock, moving
        self._tracker = BoxTracker(look.patience)

    def __call__(self, frame: MediaFrame) -> list[TrackedFace]:
        """The faces of the next frame."""
        detector = self._look.detector
        if detector is None:
            height, width = frame.image.shape[:2]
            return [TrackedFace(0, np.array([0, 0, width, height], np.float64), np.eye(2, 3), frame.image)]
        with self._clock("detection"):
            faces = faces_of(detector, frame, self._look.people)
            tracks = self._tracker.follow(frame.number, [face.box for face in faces])
        with self._clock("cutting"):
            return [self._seen(frame, face, track) for face, track in zip(faces, tracks, strict=True)]

    def _seen(self, frame: MediaFrame, face: Face, track: int) -> TrackedFace:
        side = self._look.side
        crop = decoded(jpeg(aligned(frame.image, face, side)), "a crop")
        return TrackedFace(track, face.box, _inverse(face, side), crop)

    def endings(self) -> dict[int, str]:
        """What is put behind the recording's name for each track that counts, now that all frames were seen."""
        if self._look.detector is None:
            return {0: ""}
        return clip_suffixes(self._tracker.tracks, self._look.least if self._moving else 1)


def _inverse(face: Face, side: int) -> np.ndarray:
    """From the crop to the frame."""
    similarity = face.to_template()
    assert similarity is not None, "Extractor.detect lets no such face through"
    there = rescaled(similarity, side / SIDE)
    back = np.linalg.inv(there[:, :2])
    return np.column_stack([back, -back @ there[:, 2]])


def faces_of(detector: Extractor, frame: MediaFrame, people: Choice | None) -> list[Face]:
    """The faces of a frame that count: all of them, or the one that is asked for."""
    faces = detector.detect(frame.image)
    if people is None:
        return faces
    chosen = choose(faces, people, frame.image.shape[1], frame.image.shape[0])
    return [chosen] if chosen else []
