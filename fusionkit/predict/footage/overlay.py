"""Draws what a cell says of a frame: boxes in the picture, and beside it a bar a class for each person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from fusionkit.predict.footage.lettering import Colour, Lettering
from fusionkit.report.sheet import COLOURS

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
        self._letters = Lettering(round(11 * self._unit))
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
            RGB uint8, with even sides.
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
