"""Text in pictures: DejaVu Sans, which comes with matplotlib, so that class names may be of any alphabet it knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan
from pathlib import Path

import numpy as np

from fusionkit.data.drawing import COLOURS
from fusionkit.errors import DataError
from fusionkit.grid.progress import Progress
from fusionkit.media.video_writer import VideoWriter
from fusionkit.predict.video.faces import VideoResult
from fusionkit.predict.video.reading import VideoPrediction
from fusionkit.storage.artifact import write_file

Colour = tuple[int, int, int]


class TextRenderer:
    """Writes at one size; what was written before is drawn again from memory.

    Args:
        size: of the letters in px.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def width(self, text: str) -> int:
        """Of a text in px."""
        return int(_mask(text, self.size).shape[1])

    def write(self, canvas: np.ndarray, text: str, left: int, top: int, colour: Colour) -> None:
        """Blend a text into a picture; what lies outside of it is cut off.

        Args:
            canvas: RGB uint8 (H, W, 3), which is changed.
            text: one line.
            left: edge in px, and so is ``top``.
            top: edge of the line.
            colour: of the letters.
        """
        mask = _mask(text, self.size)[max(-top, 0) :, max(-left, 0) :]
        place = canvas[max(top, 0) : max(top, 0) + mask.shape[0], max(left, 0) : max(left, 0) + mask.shape[1]]
        weight = mask[: place.shape[0], : place.shape[1], None]
        place[:] = (place + (np.array(colour, np.float32) - place) * weight).round().astype(np.uint8)


@cache
def _font(size: int) -> object:
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


@cache
def _mask(text: str, size: int) -> np.ndarray:
    """(h, w) float32, how much of each pixel is covered; a line of any text has the same height."""
    from PIL import Image, ImageDraw

    font = _font(size)
    width = max(int(np.ceil(ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, font))), 1)  # type: ignore[arg-type]
    image = Image.new("L", (width, round(1.3 * size)))
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)  # type: ignore[arg-type]
    return np.asarray(image, np.float32) / 255


_LOW, _HIGH = 360, 1080  # px that a picture is at least, and at most, high
_GROUND: Colour = (28, 28, 30)
_BAR: Colour = (92, 96, 104)
_PEOPLE: tuple[Colour, ...] = COLOURS[3:] + COLOURS[:3]  # so that faces and the first regions differ
_INK: Colour = (236, 236, 236)
_DIM: Colour = (140, 140, 144)


@dataclass(frozen=True, eq=False)
class Mark:
    """A person in a frame.

    Attributes:
        title: who it is; empty where there is nobody else.
        colour: of the person.
        box: (4,) of the face in px of the frame; None where none was found.
        regions: (K, 4, 2) corners of the regions, in px of the frame.
        probs: (C,); None where nothing can be said.
        seen: the face has a view; else the probabilities are imputed.
    """

    title: str
    colour: int
    box: np.ndarray | None
    regions: np.ndarray
    probs: np.ndarray | None
    seen: bool


class Overlay:
    """Draws the frames of one recording, all of one size.

    Args:
        classes: the C class names.
        size: height and width of the frames in px.
    """

    def __init__(self, classes: Sequence[str], size: tuple[int, int]) -> None:
        height, width = size
        self._scale = min(max(_LOW / height, 1.0), _HIGH / height)
        self._size = tuple(max(round(length * self._scale / 2) * 2, 2) for length in (height, width))
        self._classes = tuple(classes)
        self._unit = min(max(self._size[0] / _LOW, 1.0), 2.0)
        self._letters = TextRenderer(round(11 * self._unit))
        names = max(self._letters.width(name) for name in self._classes)
        self._names = names + round(16 * self._unit)
        self._panel = (self._names + round(110 * self._unit)) // 2 * 2

    def draw(self, image: np.ndarray, marks: Sequence[Mark], head: str) -> np.ndarray:
        """The frame with its marks.

        Args:
            image: RGB uint8 (H, W, 3); of another size than announced it is stretched.
            marks: the people.
            head: a line above the bars: when.

        Returns:
            RGB uint8, with even scored_rows.
        """
        import cv2

        height, width = self._size
        shrink = self._scale < 1
        shown = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
        scale = np.array([width / image.shape[1], height / image.shape[0]])
        for mark in marks:
            self._outline(shown, mark, scale)
        canvas = np.empty((height, width + self._panel, 3), np.uint8)
        canvas[:, :width], canvas[:, width:] = shown, _GROUND
        self._bars(canvas, width, marks, head)
        return canvas

    def _outline(self, shown: np.ndarray, mark: Mark, scale: np.ndarray) -> None:
        """Regions and face, in px of the picture as it is shown."""
        import cv2

        thin, sixteenth = max(round(self._unit), 1), 4
        for place, corners in enumerate(mark.regions):
            colour = COLOURS[place % len(COLOURS)]
            # Boxes count from the edge of the first pixel, OpenCV from its centre; four bits of a pixel are kept.
            points = np.rint((corners * scale - 0.5) * 2**sixteenth).astype(np.int32)
            cv2.polylines(shown, [points], True, colour, thin, cv2.LINE_AA, sixteenth)
        if mark.box is None:
            return
        left, top, right, bottom = np.rint(mark.box * np.tile(scale, 2)).astype(int).tolist()
        if left <= 0 and top <= 0 and right >= shown.shape[1] and bottom >= shown.shape[0]:
            return  # the frame is the face
        colour = _PEOPLE[mark.colour % len(_PEOPLE)]
        cv2.rectangle(shown, (left, top), (right, bottom), colour, thin + 1, cv2.LINE_AA)
        text = " ".join(part for part in (mark.title, self._said(mark)) if part)
        line = round(1.3 * self._letters.size)
        x = min(max(left, 0), max(shown.shape[1] - self._letters.width(text) - 6, 0))
        y = top - line - 4 if top >= line + 4 else min(bottom + 2, shown.shape[0] - line - 4)
        ground = shown[max(y, 0) : y + line + 3, x : x + self._letters.width(text) + 6]
        ground[:] = ground // 4
        self._letters.write(shown, text, x + 3, y + 1, colour)

    def _said(self, mark: Mark) -> str:
        if mark.probs is None:
            return "?"
        best = int(mark.probs.argmax())
        return f"{self._classes[best]} {mark.probs[best]:.0%}"

    def _bars(self, canvas: np.ndarray, left: int, marks: Sequence[Mark], head: str) -> None:
        edge, line = round(8 * self._unit), round(16 * self._unit)
        self._letters.write(canvas, head, left + edge, edge // 2, _DIM)
        top = edge // 2 + line
        shown = [mark for mark in marks if mark.seen] or marks[:1]
        for place, mark in enumerate(shown):
            if place and top + line * (len(self._classes) + 2) > canvas.shape[0]:
                self._letters.write(canvas, f"and {len(shown) - place} more", left + edge, top + edge // 2, _DIM)
                return
            top += edge // 2
            colour: Colour = _PEOPLE[mark.colour % len(_PEOPLE)]
            title = mark.title or ("" if mark.probs is None else self._said(mark))
            if not mark.seen:
                title = f"{mark.title} no face".strip()
            self._letters.write(canvas, title, left + edge, top, colour if mark.seen else _DIM)
            top += line
            if mark.probs is not None:
                self._classes_of(canvas, left, top, mark, colour)
            top += line * len(self._classes)

    def _classes_of(self, canvas: np.ndarray, left: int, top: int, mark: Mark, colour: Colour) -> None:
        """A bar a class, that of the most probable one in the person's colour."""
        assert mark.probs is not None
        edge, line = round(8 * self._unit), round(16 * self._unit)
        best, full = int(mark.probs.argmax()), self._panel - self._names - edge
        for place, name in enumerate(self._classes):
            y, x = top + place * line, left + self._names
            chosen = place == best and mark.seen
            self._letters.write(canvas, name, left + edge, y, _INK if chosen else _DIM)
            canvas[y + line // 4 : y + line - line // 4, x : x + full] = np.array(_GROUND) + 14
            bar = round(full * float(mark.probs[place]))
            canvas[y + line // 4 : y + line - line // 4, x : x + bar] = colour if chosen else _BAR


def moment(number: int, seconds: float) -> str:
    """When a frame is shown: ``0:03.28``; its number where nobody says."""
    if isnan(seconds):
        return f"frame {number}"
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes)}:{rest:05.2f}"


def annotate(answered: VideoPrediction, classes: tuple[str, ...], folder: Path, progress: Progress) -> Path | None:
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
    with progress.stage(f"draw {name}", len(answered.footage), "frames"), VideoWriter(path) as movie:
        for image, seconds in _drawn(answered, answered.footage, classes):
            movie.add(image, seconds)
            progress.advance()
    return path


def _drawn(
    answered: VideoPrediction, footage: VideoResult, classes: tuple[str, ...]
) -> Iterator[tuple[np.ndarray, float]]:
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

    def __init__(self, answered: VideoPrediction, footage: VideoResult) -> None:
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
