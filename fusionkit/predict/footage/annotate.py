"""Reads a recording once more and writes it with what a cell says of it: a video, or a picture of a photo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fusionkit.artifact import write_file
from fusionkit.errors import DataError
from fusionkit.grid.progress import Progress
from fusionkit.media.movie import Movie
from fusionkit.predict.footage.footage import Footage
from fusionkit.predict.footage.overlay import Mark, Overlay, moment
from fusionkit.predict.footage.reading import Answered


def annotate(answered: Answered, classes: tuple[str, ...], folder: Path, progress: Progress) -> Path | None:
    """Write ``<name>.mp4``, or ``<name>.jpg`` of a photo.

    Args:
        answered: the recording, finished.
        classes: the class names.
        folder: where to.
        progress: told of frames.

    Returns:
        The file; None where there was nothing to read.

    Raises:
        StorageError: if it cannot be written.
        DataError: if the recording has gone since it was read.
    """
    if answered.footage is None:
        return None
    name = answered.recording.name
    if answered.recording.still:
        image = next(_drawn(answered, answered.footage, classes))[0]
        path = folder / f"{name}.jpg"
        write_file(path, _jpeg(image, path))
        return path
    path = folder / f"{name}.mp4"
    with progress.stage(f"draw {name}", len(answered.footage), "frames"), Movie(path) as movie:
        for image, seconds in _drawn(answered, answered.footage, classes):
            movie.add(image, seconds)
            progress.advance()
    return path


def _drawn(answered: Answered, footage: Footage, classes: tuple[str, ...]) -> Iterator[tuple[np.ndarray, float]]:
    """Each frame with its marks, and when it is shown."""
    overlay: Overlay | None = None
    marks = Marks(answered, footage)
    for place, frame in enumerate(answered.recording.frames()):
        if place >= len(footage):
            return
        overlay = overlay or Overlay(classes, (frame.image.shape[0], frame.image.shape[1]))
        head = "" if answered.recording.still else moment(frame.number, frame.seconds)
        yield overlay.draw(frame.image, marks.at(place), head), frame.seconds


class Marks:
    """Who is where in each frame of a recording, and what is said of them.

    Args:
        answered: the recording.
        footage: its log.
    """

    def __init__(self, answered: Answered, footage: Footage) -> None:
        self._clips = [clip for clip in answered.clips if clip.seen.any()]
        start = len(answered.recording.name)
        # In a film there may be a thousand people, of whom a frame has one or two.
        self._first, self._last = (np.array([clip.frames[end] for clip in self._clips]) for end in (0, -1))
        self._titles = [clip.clip[start:].lstrip("_") for clip in self._clips]
        self._box, self._to_frame, self._boxes = footage.box.values, footage.to_frame.values, footage.boxes

    def at(self, frame: int) -> list[Mark]:
        """The marks of a frame: everybody who has a row for it."""
        found = []
        for number in np.flatnonzero((self._first <= frame) & (frame <= self._last)).tolist():
            clip = self._clips[number]
            place = int(np.searchsorted(clip.frames, frame))
            if place == len(clip.frames) or clip.frames[place] != frame:
                continue
            face, probs = int(clip.faces[place]), clip.probs[place]
            found.append(
                Mark(
                    title=self._titles[number],
                    colour=number,
                    box=self._box[face] if face >= 0 else None,
                    regions=corners(self._boxes[face], self._to_frame[face]) if face >= 0 else np.empty((0, 4, 2)),
                    probs=None if np.isnan(probs[0]) else probs,
                    seen=bool(clip.seen[place]),
                )
            )
        return found


def corners(boxes: np.ndarray, to_frame: np.ndarray) -> np.ndarray:
    """Corners of boxes in the crop, as they stand in the frame.

    Args:
        boxes: (R, 5) centre x, y, width, height in px and angle in degrees, from the edge of the crop's first pixel;
            NaN rows are not there.
        to_frame: (2, 3) between centres of pixels.

    Returns:
        (K, 4, 2) x, y in px from the edge of the frame's first pixel; K of the boxes are there.
    """
    there = boxes[~np.isnan(boxes[:, 0])].astype(np.float64)
    turn = np.radians(there[:, 4])
    along = np.stack([np.cos(turn), np.sin(turn)], 1) * there[:, 2:3] / 2
    across = np.stack([-np.sin(turn), np.cos(turn)], 1) * there[:, 3:4] / 2
    around = np.stack([-along - across, along - across, along + across, across - along], 1)
    points = there[:, None, :2] + around
    turned: np.ndarray = (points - 0.5) @ to_frame[:, :2].T + to_frame[:, 2] + 0.5
    return turned


def _jpeg(image: np.ndarray, path: Path) -> bytes:
    import cv2

    good, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not good:
        raise DataError(f"{path}: the picture could not be encoded")
    encoded: bytes = data.tobytes()
    return encoded
