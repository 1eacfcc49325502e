"""Write annotated videos and photos: boxes of faces and regions, the label, and a bar per class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import isnan
from pathlib import Path

import numpy as np

from fusionkit.data.drawing import COLOURS
from fusionkit.errors import printable
from fusionkit.grid.progress import Progress
from fusionkit.media.crops import encode_jpeg
from fusionkit.media.video_writer import VideoWriter
from fusionkit.predict.video.result import VideoResult
from fusionkit.storage.artifact import write_file

Colour = tuple[int, int, int]

_MIN_HEIGHT, _MAX_HEIGHT = 360, 1080  # px of a drawn frame
_JPEG_QUALITY = 92
_BACKGROUND: Colour = (28, 28, 30)
_BAR: Colour = (92, 96, 104)
_TEXT: Colour = (236, 236, 236)
_DIM_TEXT: Colour = (140, 140, 144)
_FACE_COLOURS: tuple[Colour, ...] = COLOURS[3:] + COLOURS[:3]  # so that the first faces and regions differ


def annotate(result: VideoResult, classes: tuple[str, ...], folder: Path, progress: Progress) -> Path:
    """Write ``<name>.mp4``, or ``<name>.jpg`` of a photo.

    Args:
        result: of an input that could be read.
        classes: the class names.
        folder: where the file is written.
        progress: counts frames.

    Returns:
        The path of the file.

    Raises:
        StorageError: if it cannot be written.
        DataError: if the input has disappeared since it was read.
    """
    name = result.source.clip_name
    if result.source.is_photo:
        image = next(_annotated_frames(result, classes))[0]
        path = folder / f"{name}.jpg"
        write_file(path, encode_jpeg(image, str(path), _JPEG_QUALITY))
        return path
    path = folder / f"{name}.mp4"
    with progress.stage(f"draw {name}", len(result), "frames"), VideoWriter(path) as writer:
        for image, seconds in _annotated_frames(result, classes):
            writer.add(image, seconds)
            progress.advance()
    return path


def _annotated_frames(result: VideoResult, classes: tuple[str, ...]) -> Iterator[tuple[np.ndarray, float]]:
    """Yield each frame with its marks, and its presentation time."""
    overlay: Overlay | None = None
    marks = FaceMarks(result)
    for index, frame in enumerate(result.source.open().frames()):
        if index >= len(result):
            return
        overlay = overlay or Overlay(classes, (frame.image.shape[0], frame.image.shape[1]))
        caption = "" if result.source.is_photo else time_label(frame.number, frame.seconds)
        yield overlay.draw(frame.image, marks.at(index), caption), frame.seconds


@dataclass(frozen=True, eq=False)
class FaceMark:
    """What is drawn of one clip in a frame.

    Attributes:
        title: suffix of the clip name.
        colour: number of the colour of the clip.
        box: (4,) of the face in px of the frame; None without a face.
        regions: (K, 4, 2) corners of the regions, in px of the frame.
        probs: (C,); None without a prediction.
        seen: whether the face has a view; otherwise the probabilities are imputed.
    """

    title: str
    colour: int
    box: np.ndarray | None
    regions: np.ndarray
    probs: np.ndarray | None
    seen: bool


class FaceMarks:
    """The marks of each frame of a result."""

    def __init__(self, result: VideoResult) -> None:
        self._clips = [clip for clip in result.clips if clip.seen.any()]
        # A film may have a thousand clips, of which a frame has one or two.
        self._first, self._last = (np.array([clip.frames[end] for clip in self._clips]) for end in (0, -1))
        self._titles = [result.suffix(clip.clip) for clip in self._clips]
        self._faces = result.faces.values

    def at(self, frame: int) -> list[FaceMark]:
        """Return the marks of the clips that have a row for a frame; ``frame`` is its index."""
        marks = []
        for number in np.flatnonzero((self._first <= frame) & (frame <= self._last)).tolist():
            clip = self._clips[number]
            row = int(np.searchsorted(clip.frames, frame))
            if row == len(clip.frames) or clip.frames[row] != frame:
                continue
            face = self._faces[clip.faces[row]] if clip.faces[row] >= 0 else None
            probs = clip.probs[row]
            marks.append(
                FaceMark(
                    title=self._titles[number],
                    colour=number,
                    box=None if face is None else face["box"],
                    regions=np.empty((0, 4, 2)) if face is None else corners(face["boxes"], face["to_frame"]),
                    probs=None if np.isnan(probs[0]) else probs,
                    seen=bool(clip.seen[row]),
                )
            )
        return marks


def corners(boxes: np.ndarray, to_frame: np.ndarray) -> np.ndarray:
    """Return the corners of boxes of a crop in the frame.

    Args:
        boxes: (R, 5) centre x, y, width, height in px and angle in degrees, from the edge of the crop's first pixel;
            rows of NaN are missing.
        to_frame: (2, 3) between centres of pixels.

    Returns:
        (K, 4, 2) x, y in px from the edge of the frame's first pixel, of the K boxes that are not missing.
    """
    found = boxes[~np.isnan(boxes[:, 0])].astype(np.float64)
    angle = np.radians(found[:, 4])
    along = np.stack([np.cos(angle), np.sin(angle)], 1) * found[:, 2:3] / 2
    across = np.stack([-np.sin(angle), np.cos(angle)], 1) * found[:, 3:4] / 2
    offsets = np.stack([-along - across, along - across, along + across, across - along], 1)
    points = found[:, None, :2] + offsets
    in_frame: np.ndarray = (points - 0.5) @ to_frame[:, :2].T + to_frame[:, 2] + 0.5
    return in_frame


class Overlay:
    """Draw the frames of one input, all of one size.

    Args:
        classes: the C class names.
        size: height and width of the frames in px.
    """

    def __init__(self, classes: Sequence[str], size: tuple[int, int]) -> None:
        height, width = size
        self._scale = min(max(_MIN_HEIGHT / height, 1.0), _MAX_HEIGHT / height)
        self._size = tuple(max(round(length * self._scale / 2) * 2, 2) for length in (height, width))
        self._classes = tuple(classes)
        self._unit = min(max(self._size[0] / _MIN_HEIGHT, 1.0), 2.0)
        self._edge, self._line = round(8 * self._unit), round(16 * self._unit)
        self._text = TextRenderer(round(11 * self._unit))
        self._names_width = max(self._text.width(name) for name in self._classes) + self._line
        self._panel_width = (self._names_width + round(110 * self._unit)) // 2 * 2

    def draw(self, image: np.ndarray, marks: Sequence[FaceMark], caption: str) -> np.ndarray:
        """Return the frame with its marks.

        Args:
            image: RGB uint8 (H, W, 3); another size than that of the overlay is resized.
            marks: of the frame.
            caption: a line above the bars.

        Returns:
            RGB uint8 with even height and width.
        """
        import cv2

        height, width = self._size
        interpolation = cv2.INTER_AREA if self._scale < 1 else cv2.INTER_CUBIC
        shown = cv2.resize(image, (width, height), interpolation=interpolation)
        scale = np.array([width / image.shape[1], height / image.shape[0]])
        for mark in marks:
            self._draw_boxes(shown, mark, scale)
        canvas = np.empty((height, width + self._panel_width, 3), np.uint8)
        canvas[:, :width], canvas[:, width:] = shown, _BACKGROUND
        self._draw_panel(canvas, width, marks, caption)
        return canvas

    def _draw_boxes(self, shown: np.ndarray, mark: FaceMark, scale: np.ndarray) -> None:
        """Draw regions and face in the resized frame."""
        import cv2

        thickness, fraction_bits = max(round(self._unit), 1), 4
        for index, points in enumerate(mark.regions):
            colour = COLOURS[index % len(COLOURS)]
            # Boxes count from the edge of the first pixel, OpenCV from its centre.
            fixed = np.rint((points * scale - 0.5) * 2**fraction_bits).astype(np.int32)
            cv2.polylines(shown, [fixed], True, colour, thickness, cv2.LINE_AA, fraction_bits)
        if mark.box is None:
            return
        left, top, right, bottom = np.rint(mark.box * np.tile(scale, 2)).astype(int).tolist()
        if left <= 0 and top <= 0 and right >= shown.shape[1] and bottom >= shown.shape[0]:
            return  # the frame is the face
        colour = _FACE_COLOURS[mark.colour % len(_FACE_COLOURS)]
        cv2.rectangle(shown, (left, top), (right, bottom), colour, thickness + 1, cv2.LINE_AA)
        text = " ".join(part for part in (mark.title, self._label(mark)) if part)
        line = round(1.3 * self._text.size)
        x = min(max(left, 0), max(shown.shape[1] - self._text.width(text) - 6, 0))
        y = top - line - 4 if top >= line + 4 else min(bottom + 2, shown.shape[0] - line - 4)
        ground = shown[max(y, 0) : y + line + 3, x : x + self._text.width(text) + 6]
        ground[:] = ground // 4
        self._text.draw(shown, text, x + 3, y + 1, colour)

    def _label(self, mark: FaceMark) -> str:
        if mark.probs is None:
            return "?"
        best = int(mark.probs.argmax())
        return f"{self._classes[best]} {mark.probs[best]:.0%}"

    def _draw_panel(self, canvas: np.ndarray, left: int, marks: Sequence[FaceMark], caption: str) -> None:
        edge, line = self._edge, self._line
        self._text.draw(canvas, caption, left + edge, edge // 2, _DIM_TEXT)
        top = edge // 2 + line
        shown = [mark for mark in marks if mark.seen] or marks[:1]
        for index, mark in enumerate(shown):
            if index and top + line * (len(self._classes) + 2) > canvas.shape[0]:
                self._text.draw(canvas, f"and {len(shown) - index} more", left + edge, top + edge // 2, _DIM_TEXT)
                return
            top += edge // 2
            colour: Colour = _FACE_COLOURS[mark.colour % len(_FACE_COLOURS)]
            title = mark.title or ("" if mark.probs is None else self._label(mark))
            if not mark.seen:
                title = f"{mark.title} no face".strip()
            self._text.draw(canvas, title, left + edge, top, colour if mark.seen else _DIM_TEXT)
            top += line
            if mark.probs is not None:
                self._draw_bars(canvas, left, top, mark.probs, colour if mark.seen else None)
            top += line * len(self._classes)

    def _draw_bars(self, canvas: np.ndarray, left: int, top: int, probs: np.ndarray, colour: Colour | None) -> None:
        """Draw a bar per class, that of the most probable one in ``colour``."""
        full = self._panel_width - self._names_width - self._edge
        best, x = int(probs.argmax()), left + self._names_width
        for index, name in enumerate(self._classes):
            y = top + index * self._line
            chosen = colour if index == best else None
            self._text.draw(canvas, name, left + self._edge, y, _TEXT if chosen else _DIM_TEXT)
            bar = canvas[y + self._line // 4 : y + self._line - self._line // 4]
            bar[:, x : x + full] = np.array(_BACKGROUND) + 14
            bar[:, x : x + round(full * float(probs[index]))] = chosen or _BAR


class TextRenderer:
    """Draw text of one size in DejaVu Sans, which matplotlib provides and which has most alphabets.

    Args:
        size: of the font in px.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def width(self, text: str) -> int:
        """Return the width of a text in px."""
        return int(_mask(text, self.size).shape[1])

    def draw(self, canvas: np.ndarray, text: str, left: int, top: int, colour: Colour) -> None:
        """Blend a text into a picture; what lies outside is cut off.

        Args:
            canvas: RGB uint8 (H, W, 3), changed in place.
            text: one line.
            left: edge of the text in px.
            top: edge of the line in px.
            colour: of the text.
        """
        mask = _mask(text, self.size)[max(-top, 0) :, max(-left, 0) :]
        area = canvas[max(top, 0) : max(top, 0) + mask.shape[0], max(left, 0) : max(left, 0) + mask.shape[1]]
        weight = mask[: area.shape[0], : area.shape[1], None]
        area[:] = (area + (np.array(colour, np.float32) - area) * weight).round().astype(np.uint8)


@cache
def _font(size: int) -> object:
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


@cache
def _mask(text: str, size: int) -> np.ndarray:
    """Return the coverage of each pixel, (h, w) float32 in 0..1; h depends on the size only."""
    from PIL import Image, ImageDraw

    font, text = _font(size), printable(text)
    width = max(int(np.ceil(ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, font))), 1)  # type: ignore[arg-type]
    image = Image.new("L", (width, round(1.3 * size)))
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)  # type: ignore[arg-type]
    return np.asarray(image, np.float32) / 255


def time_label(number: int, seconds: float) -> str:
    """Return the presentation time of a frame, as ``0:03.28``, or its number where the time is unknown."""
    if isnan(seconds):
        return f"frame {number}"
    minutes, rest = divmod(max(seconds, 0.0), 60)
    return f"{int(minutes)}:{rest:05.2f}"
