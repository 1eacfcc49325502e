"""Text in pictures: DejaVu Sans, which comes with matplotlib, so that class names may be of any alphabet it knows."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

Colour = tuple[int, int, int]


class Lettering:
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
