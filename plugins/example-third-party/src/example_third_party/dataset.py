"""A data set: a table of frames, and their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.errors import DataError, expanded


class ExampleFolder(FaceDataset):
    """Faces in ``<root>/<split>/<class>/<person>_<frame>.png``, with split train, val or test.

    Args:
        root: the folder.

    Raises:
        DataError: if the folder has no such image.

    Reference: none; a layout for your own recordings.
    """

    places: ClassVar[tuple[str, ...]] = ("root",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = ()

    def __init__(self, root: str) -> None:
        self.root = expanded(root)
        files = self.root.glob("*/*/*_*.png")
        self._files = sorted(files, key=lambda file: (self._clip(file), _frame_number(file)))
        if not self._files:
            raise DataError(f"example-folder: {self.root} has no <split>/<class>/<person>_<frame>.png")
        self._classes = tuple(sorted({file.parent.name for file in self._files}))
        self._frames = FrameTable.of(
            clip=[self._clip(file) for file in self._files],
            number=[_frame_number(file) for file in self._files],
            label=[self._classes.index(file.parent.name) for file in self._files],
            subject=[_person(file) for file in self._files],
            split=[file.parts[-3] for file in self._files],
        )

    def _clip(self, file: Path) -> str:
        """Return the name of a clip: the frames of one person with one expression."""
        return f"{file.parent.relative_to(self.root).as_posix()}/{_person(file)}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, in alphabetical order."""
        return self._classes

    @property
    def frames(self) -> FrameTable:
        """One row per image; statistics resample persons."""
        return self._frames

    def read(self, rows: np.ndarray) -> list[np.ndarray | None]:
        """Return RGB images; None for a file that cannot be read."""
        return [_rgb(self._files[row]) for row in rows]

    def where(self, row: int) -> str:
        """Return the path of the file, whose bytes are then part of the identity of the data."""
        return str(self._files[row])


def _person(file: Path) -> str:
    return file.stem.rpartition("_")[0]


def _frame_number(file: Path) -> int:
    number = file.stem.rpartition("_")[2]
    if not number.isdecimal():
        raise DataError(f"example-folder: the name of {file} must end in _<frame>.png")
    return int(number)


def _rgb(file: Path) -> np.ndarray | None:
    import cv2

    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
