"""Tiny image files and lists, for the tests of data sets of stills."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fusionkit.contracts import FaceDataset


def image(path: Path, grey: int, height: int = 4, width: int = 6) -> None:
    """A PNG file of one grey value (whatever its ending says)."""
    ok, data = cv2.imencode(".png", np.full((height, width, 3), grey, np.uint8))
    assert ok
    write(path, data.tobytes())


def write(path: Path, content: bytes | str) -> None:
    """A file, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def labels(data: FaceDataset) -> list[str | None]:
    """The class name of each row of the checked table; None where it is unlabelled."""
    return [None if label < 0 else data.classes[label] for label in data.table().label.tolist()]


def greys(data: FaceDataset, rows: Sequence[int] | None = None) -> list[int | None]:
    """The one grey value of each row's image; None where there is no image."""
    chosen = np.arange(len(data.table())) if rows is None else np.array(rows)
    return [None if read is None else int(read[0, 0, 0]) for read in data.images(chosen)]
