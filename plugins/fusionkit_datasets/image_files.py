"""The images of a data set as files below its root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fusionkit.contracts.image_file import read_image

MISSING = -1

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ImageFiles:
    """Files in the order of the table's rows, looked at (never opened) when the list is made.

    Attributes:
        root: the data set's folder.
        names: paths below the root, with ``/``.
        boxes: the part of each image to cut out: left, top, right, bottom in px; None leaves it whole. Empty: all do.
        sizes: in bytes; -1 for a file that is not there.
    """

    root: Path
    names: Sequence[str]
    boxes: Sequence[Box | None] = ()
    sizes: Sequence[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", [_size(self.path(row)) for row in range(len(self.names))])

    def path(self, row: int) -> str:
        """Where the file is, or should be."""
        return os.path.join(self.root, self.names[row])  # noqa: PTH118  # ten times Path's speed

    def read(self, row: int) -> np.ndarray | None:
        """RGB uint8 (H, W, 3); None if the file is missing or broken."""
        if self.sizes[row] <= 0:
            return None
        image = read_image(self.path(row))
        box = self.boxes[row] if self.boxes else None
        return image if image is None or box is None else _cut(image, box)

    def where(self, row: int) -> str:
        """The file."""
        return self.path(row)

    def content(self) -> str:
        """Paths below the root, sizes in bytes and boxes, a line a file."""
        text = "\n".join(f"{name}\t{size}" for name, size in zip(self.names, self.sizes, strict=True))
        return f"{text}\n{self.boxes}".encode(errors="backslashreplace").decode()

    def there(self) -> np.ndarray:
        """(N,) bool: which files are there and not empty."""
        return np.array(self.sizes, dtype=np.int64) > 0

    def problems(self) -> Iterator[tuple[int, str]]:
        """(row, what is wrong) of each file that has something."""
        for row, size in enumerate(self.sizes):
            if size <= 0:
                yield row, f"{self.path(row)} {'is missing' if size == MISSING else 'is empty'}"


def _size(path: str) -> int:
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # a name with a NUL byte is no file's
        return MISSING
    return status.st_size if stat.S_ISREG(status.st_mode) else MISSING


def _cut(image: np.ndarray, box: Box) -> np.ndarray:
    """The part inside the box; the whole image where the box lies outside of it."""
    left, top, right, bottom = (max(side, 0) for side in box)
    part = image[top:bottom, left:right]
    return np.ascontiguousarray(part) if part.size else image
