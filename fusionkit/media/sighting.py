"""The faces of a recording as ``align`` finds, follows and cuts them, handed on frame by frame instead of written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusionkit.contracts.extractor import Extractor
from fusionkit.contracts.face import SIDE, Choice, Face
from fusionkit.contracts.image_file import decoded
from fusionkit.errors import ConfigError
from fusionkit.media.align import faces_of
from fusionkit.media.aligned import aligned, rescaled
from fusionkit.media.clock import Clock
from fusionkit.media.crops import jpeg
from fusionkit.media.people import clip_endings
from fusionkit.media.tracking import Tracker
from fusionkit.media.video import MediaFrame
from fusionkit.registry import EXTRACTORS
from fusionkit.spec import Spec


@dataclass(frozen=True)
class Look:
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
class Sighting:
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


class Watch:
    """Looks at the frames of one recording in order.

    Args:
        look: how.
        clock: told how long looking and cutting take.
        moving: whether there may be more than one frame.
    """

    def __init__(self, look: Look, clock: Clock, *, moving: bool) -> None:
        self._look, self._clock, self._moving = look, clock, moving
        self._tracker = Tracker(look.patience)

    def __call__(self, frame: MediaFrame) -> list[Sighting]:
        """The faces of the next frame."""
        detector = self._look.detector
        if detector is None:
            height, width = frame.image.shape[:2]
            return [Sighting(0, np.array([0, 0, width, height], np.float64), np.eye(2, 3), frame.image)]
        with self._clock("detection"):
            faces = faces_of(detector, frame, self._look.people)
            tracks = self._tracker.follow(frame.number, [face.box for face in faces])
        with self._clock("cutting"):
            return [self._seen(frame, face, track) for face, track in zip(faces, tracks, strict=True)]

    def _seen(self, frame: MediaFrame, face: Face, track: int) -> Sighting:
        side = self._look.side
        crop = decoded(jpeg(aligned(frame.image, face, side)), "a crop")
        return Sighting(track, face.box, _inverse(face, side), crop)

    def endings(self) -> dict[int, str]:
        """What is put behind the recording's name for each track that counts, now that all frames were seen."""
        if self._look.detector is None:
            return {0: ""}
        return clip_endings(self._tracker.tracks, self._look.least if self._moving else 1)


def _inverse(face: Face, side: int) -> np.ndarray:
    """From the crop to the frame."""
    similarity = face.to_template()
    assert similarity is not None, "Extractor.detect lets no such face through"
    there = rescaled(similarity, side / SIDE)
    back = np.linalg.inv(there[:, :2])
    return np.column_stack([back, -back @ there[:, 2]])
