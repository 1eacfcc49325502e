"""Detect the faces of a video, follow each over time, and name the clips that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fusionkit.contracts.extractor import SIDE, Choice, Extractor, Face, choose
from fusionkit.contracts.image_file import decoded
from fusionkit.errors import ConfigError
from fusionkit.media.clock import Clock
from fusionkit.media.crops import align_face, encode_jpeg, to_crop
from fusionkit.media.video import MediaFrame

NO_FACE_HINT = "frames are shrunk to side= of the detector, where a face needs about 10 px: raise side= for small faces"
_MIN_OVERLAP = 0.3  # intersection over union of the boxes of one face in two frames
_MAX_DISTANCE = 0.5  # of the centres, in box sizes, for boxes that overlap less


@dataclass(frozen=True)
class DetectionOptions:
    """How faces are detected and followed.

    Attributes:
        detector: extractor that detects faces; None: every frame is an aligned face.
        people: which faces of a frame are kept; None: all.
        side: of a crop in px.
        min_frames: faces of a video with fewer frames are dropped, unless all have fewer.
        patience: frames without detection after which a face is a new one.
        rotate: degrees by which frames are turned clockwise, 0, 90, 180 or 270; None: found for each input.

    Raises:
        ConfigError: if the extractor does not detect faces.
    """

    detector: Extractor | None = None
    people: Choice | None = None
    side: int = SIDE
    min_frames: int = 5
    patience: int = 30
    rotate: int | None = None

    def __post_init__(self) -> None:
        if self.detector is not None and not self.detector.finds_faces:
            raise ConfigError(
                f"extractor {type(self.detector).__name__} does not detect faces",
                hint="use a face detector, such as yunet or insightface",
            )

    def detect(self, frame: MediaFrame) -> list[Face]:
        """Return the faces of a frame that are kept."""
        assert self.detector is not None
        faces = self.detector.detect(frame.image)
        if self.people is None:
            return faces
        chosen = choose(faces, self.people, frame.image.shape[1], frame.image.shape[0])
        return [chosen] if chosen else []


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face in a frame.

    Attributes:
        track: number of its track in the video.
        box: (4,) left, top, right, bottom in px of the frame.
        to_frame: (2, 3) from pixels of the crop to pixels of the frame, as ``cv2.transform`` takes it.
        crop: RGB uint8 (side, side, 3), equal to the decoded file that ``align`` writes.
    """

    track: int
    box: np.ndarray
    to_frame: np.ndarray
    crop: np.ndarray


class FaceTracker:
    """Detect and follow the faces of one input.

    Args:
        options: of detection.
        clock: counts the seconds of detection and cropping.
        is_photo: whether there is only one frame, so that no face is dropped for having few.
    """

    def __init__(self, options: DetectionOptions, clock: Clock, *, is_photo: bool) -> None:
        self._options, self._clock, self._is_photo = options, clock, is_photo
        self._tracker = BoxTracker(options.patience)

    def __call__(self, frame: MediaFrame) -> list[TrackedFace]:
        """Return the faces of the next frame."""
        if self._options.detector is None:
            height, width = frame.image.shape[:2]
            return [TrackedFace(0, np.array([0, 0, width, height], np.float64), np.eye(2, 3), frame.image)]
        with self._clock("detection"):
            faces = self._options.detect(frame)
            tracks = self._tracker.follow(frame.number, [face.box for face in faces])
        with self._clock("cutting"):
            return [self._cropped(frame, face, track) for face, track in zip(faces, tracks, strict=True)]

    def clip_suffixes(self) -> dict[int, str]:
        """Return the suffix of the clip name by track, after the last frame; other tracks are dropped."""
        if self._options.detector is None:
            return {0: ""}
        return clip_suffixes(self._tracker.tracks, 1 if self._is_photo else self._options.min_frames)

    def doubts(self, clip_name: str) -> str:
        """Return :meth:`BoxTracker.doubts` of the clips of an input with this name."""
        return self._tracker.doubts({track: f"{clip_name}{suffix}" for track, suffix in self.clip_suffixes().items()})

    def _cropped(self, frame: MediaFrame, face: Face, track: int) -> TrackedFace:
        side = self._options.side
        crop = decoded(encode_jpeg(align_face(frame.image, face, side)), "a crop")
        matrix = to_crop(face, side)
        assert matrix is not None, "Extractor.detect drops such faces"
        inverse = np.linalg.inv(matrix[:, :2])
        return TrackedFace(track, face.box, np.column_stack([inverse, -inverse @ matrix[:, 2]]), crop)


@dataclass
class Track:
    """One face over consecutive detections.

    Attributes:
        number: from 0, in order of appearance.
        box: (4,) the last box.
        runs: first and last frame number of each run of frames with a detection, ascending.
        frames: number of frames with a detection.
        x: mean of the box centres, in px from the left.
    """

    number: int
    box: np.ndarray
    runs: list[list[int]]
    frames: int = 0
    x: float = 0.0

    @property
    def first(self) -> int:
        """Return the first frame number."""
        return self.runs[0][0]

    @property
    def last(self) -> int:
        """Return the last frame number."""
        return self.runs[-1][1]

    def add(self, frame: int, box: np.ndarray) -> None:
        """Add the box of a later frame."""
        self.box = box
        if frame <= self.last + 1:
            self.runs[-1][1] = frame
        else:
            self.runs.append([frame, frame])
        self.frames += 1
        self.x += (float(box[0] + box[2]) / 2 - self.x) / self.frames


@dataclass
class BoxTracker:
    """Follow boxes from frame to frame; memory grows with the number of tracks, not of frames.

    A box continues the track whose last box it overlaps most, else the nearest track. A track without a box for more
    than ``patience`` frames has ended.

    Attributes:
        patience: in frames.
        tracks: all tracks in order of appearance.
        overlaps: by the numbers of two tracks, ascending, the first frame in which the box of one overlaps the last box
            of the other so much that it could continue it: from there, they may be swapped.
    """

    patience: int = 30
    tracks: list[Track] = field(default_factory=list)
    overlaps: dict[tuple[int, int], int] = field(default_factory=dict)
    _active: list[Track] = field(default_factory=list)

    def follow(self, frame: int, boxes: Sequence[np.ndarray]) -> list[int]:
        """Return the track number of each box of a frame.

        Args:
            frame: its number, above that of the last call.
            boxes: (4,) left, top, right, bottom each.
        """
        self._active = [track for track in self._active if frame - track.last <= self.patience]
        before = [(track.number, track.box) for track in self._active]
        matches = _match([old for _, old in before], boxes)
        numbers = []
        for index, box in enumerate(boxes):
            track = self._active[matches[index]] if index in matches else self._start(frame, box)
            track.add(frame, box)
            numbers.append(track.number)
            for number, old in before:
                if number != track.number and _overlap(old, box) >= _MIN_OVERLAP:
                    pair = min(number, track.number), max(number, track.number)
                    self.overlaps.setdefault(pair, frame)
        return numbers

    def doubts(self, clips: Mapping[int, str]) -> str:
        """Return which clips may have swapped faces since two overlapped; an empty text where none did.

        Two people who change places at a cut leave no such sign.

        Args:
            clips: clip name by track; other tracks are dropped.
        """
        frames: dict[tuple[str, str], int] = {}
        for pair, frame in self.overlaps.items():
            if all(number in clips for number in pair):
                first, second = sorted(clips[number] for number in pair)
                if first != second:
                    frames[first, second] = min(frame, frames.get((first, second), frame))
        if not frames:
            return ""
        (first, second), frame = min(frames.items(), key=lambda item: item[1])
        more = f", and in {len(frames) - 1} other pair(s) of clips" if len(frames) > 1 else ""
        return f"faces of {first} and {second} overlap in frame {frame}{more}; from there they may be swapped"

    def _start(self, frame: int, box: np.ndarray) -> Track:
        track = Track(len(self.tracks), box, [[frame, frame]])
        self.tracks.append(track)
        self._active.append(track)
        return track


def _match(before: Sequence[np.ndarray], now: Sequence[np.ndarray]) -> dict[int, int]:
    """Return the index before by the index now, one to one, best pairs first."""
    pairs = []
    for i, old in enumerate(before):
        for j, new in enumerate(now):
            overlap, distance = _overlap(old, new), _distance(old, new)
            if overlap >= _MIN_OVERLAP:
                pairs.append((0, -overlap, i, j))
            elif distance <= _MAX_DISTANCE:
                pairs.append((1, distance, i, j))
    matches: dict[int, int] = {}
    for _, _, i, j in sorted(pairs):
        if j not in matches and i not in matches.values():
            matches[j] = i
    return matches


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance of the centres in box sizes; infinite where one box is more than twice as large."""
    sizes = [float(np.sqrt(np.prod(box[2:] - box[:2]))) for box in (a, b)]
    if max(sizes) > 2 * min(sizes):
        return float("inf")
    return float(np.linalg.norm((a[:2] + a[2:] - b[:2] - b[2:]) / 2)) / (sum(sizes) / 2)


def clip_suffixes(tracks: Sequence[Track], min_frames: int) -> dict[int, str]:
    """Return the suffix of the clip name by track number; tracks with the same suffix are one clip.

    Tracks with fewer than ``min_frames`` frames are dropped, unless all have fewer. For the others:

    - at most one at a time: no suffix. One face is assumed, also after a cut;
    - at most two at a time: ``_left`` and ``_right``, as in Aff-Wild2. Of two tracks that share frames, the one with
      the smaller mean x is left. A track that shares frames with no other gets the side with the nearer mean x;
    - more at a time: a face cannot be recognised after a cut. Each track is a clip, ``_1``, ``_2``, ... in order of
      appearance, from left to right where several appear in the same frame.

    Args:
        tracks: of one video.
        min_frames: at least 1.
    """
    kept = [track for track in tracks if track.frames >= min_frames] or list(tracks)
    most = _max_simultaneous(kept)
    if most <= 1:
        return {track.number: "" for track in kept}
    if most == 2:
        return {number: "_right" if right else "_left" for number, right in _is_right(kept).items()}
    order = sorted(kept, key=lambda track: (track.first, track.x))
    return {track.number: f"_{index}" for index, track in enumerate(order, 1)}


def _max_simultaneous(tracks: Sequence[Track]) -> int:
    changes = sorted([(track.first, 1) for track in tracks] + [(track.last + 1, -1) for track in tracks])
    return int(np.cumsum([step for _, step in changes]).max(initial=0))


def _is_right(tracks: Sequence[Track]) -> dict[int, bool]:
    """Return whether each track is the right one of two.

    Where at most two tracks share any frame, each group of tracks that are connected by shared frames divides into
    two sides in exactly one way; mean x decides which of them is right.
    """
    right: dict[int, bool] = {}
    single = []
    for group in _connected_groups(tracks):
        if len(group) == 1:
            single.append(group[0])
            continue
        side = {group[0].number: False}
        offset = 0.0
        for index, track in enumerate(group):
            for other in group[index + 1 :]:
                if track.first <= other.last and other.first <= track.last:
                    side[other.number] = not side[track.number]
                    offset += (other.x - track.x) * (1 if side[other.number] else -1)
        right |= {number: second == bool(offset > 0) for number, second in side.items()}
    left_mean, right_mean = (
        float(np.mean([track.x for track in tracks if right.get(track.number) is side])) for side in (False, True)
    )
    return right | {track.number: abs(track.x - right_mean) < abs(track.x - left_mean) for track in single}


def _connected_groups(tracks: Sequence[Track]) -> list[list[Track]]:
    """Group tracks that share frames, directly or through others; each group in order of appearance."""
    groups: list[list[Track]] = []
    end = -1
    for track in sorted(tracks, key=lambda track: (track.first, track.number)):
        if track.first > end:
            groups.append([])
        groups[-1].append(track)
        end = max(end, track.last)
    return groups
