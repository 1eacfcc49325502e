"""What sheets of pictures are drawn with: tiles, boxes, points, labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fusionkit.contracts.extractor import Extractor
from fusionkit.errors import DataError
from fusionkit.storage.artifact import unwritable, write_file

TILE, GAP, MARGIN, HEAD = 112, 6, 110, 28
PAPER = 250
_INK = 40
# Okabe and Ito's colours, which the colour-blind can tell apart (https://jfly.uni-koeln.de/color/).
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178))
_POINT, _OTHER = (255, 255, 255), (190, 190, 190)


def save_sheet(sheet: np.ndarray, path: Path) -> None:
    """Write a picture as PNG.

    Raises:
        DataError: if it cannot be encoded.
        StorageError: if it cannot be written.
    """
    import cv2

    good, png = cv2.imencode(".png", sheet[..., ::-1])
    if not good:
        raise DataError(f"{path}: the picture could not be encoded")
    try:
        write_file(path, png.tobytes())
    except OSError as error:
        raise unwritable(path, error) from error


def with_boxes(
    frame: np.ndarray,
    boxes: dict[str, np.ndarray],
    landmarks: np.ndarray | None = None,
    others: Iterable[np.ndarray] = (),
    tile: int = TILE,
) -> np.ndarray:
    """A frame in a tile's width, with its regions, landmarks, and the boxes of faces that were not chosen.

    Args:
        frame: RGB uint8 (H, W, 3).
        boxes: (5,) by region, NaN where not found.
        landmarks: (K, 2); NaN where not found.
        others: (4,) left, top, right, bottom each.
        tile: width in px.
    """
    import cv2

    image, scale = _resized(frame, tile)
    for corners in others:
        low, high = (tuple(np.rint(corners[side] * scale).astype(int).tolist()) for side in (slice(2), slice(2, 4)))
        cv2.rectangle(image, low, high, _OTHER, 1)
    for index, box in enumerate(boxes.values()):
        if np.isfinite(box).all():
            x, y, width, height, angle = (float(value) for value in box)
            turned = cv2.boxPoints(((x * scale, y * scale), (width * scale, height * scale), angle))
            cv2.polylines(image, [np.rint(turned).astype(np.int32)], True, COLOURS[index % len(COLOURS)], 1)
    for point in () if landmarks is None else landmarks[np.isfinite(landmarks).all(-1)]:
        place = np.rint((point + 0.5) * scale - 0.5).astype(int).tolist()
        cv2.circle(image, place, 1, _POINT, -1)
    return image


def fitted(image: np.ndarray | None, height: int, tile: int = TILE) -> np.ndarray:
    """A view in a tile's width and at most this height; a missing one is a hatched tile."""
    if image is None:
        missing = np.full((height, tile, 3), 225, np.uint8)
        missing[(np.add.outer(np.arange(height), np.arange(tile)) % 12) < 2] = 180
        return missing
    drawn, _ = _resized(image, min(tile, max(round(height * image.shape[1] / image.shape[0]), 1)), tile)
    return drawn[:tile]


def _resized(image: np.ndarray, width: int, tile: int = 0) -> tuple[np.ndarray, float]:
    import cv2

    scale = width / image.shape[1]
    size = (width, min(max(round(image.shape[0] * scale), 1), 2 * (tile or width)))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=shrink)), scale


def row_of(
    images: Sequence[np.ndarray],
    width: int,
    label: Sequence[str],
    tile: int = TILE,
    last: np.ndarray | None = None,
) -> np.ndarray:
    """Pictures beside each other behind a label of a few lines; ``last`` stands at the row's end."""
    every = [*images, *([] if last is None else [last])]
    height = max((image.shape[0] for image in every), default=tile // 2) + GAP
    row = np.full((height, width, 3), PAPER, np.uint8)
    lefts = [*(MARGIN + index * (tile + GAP) for index in range(len(images))), width - tile - GAP]
    for image, left in zip(every, lefts, strict=False):
        row[: image.shape[0], left : left + image.shape[1]] = image
    for line, text in enumerate(label):
        _write(row, text, (8, 16 + 16 * line))
    return row


def legend_of(extractor: Extractor, width: int, last: str = "") -> np.ndarray:
    """Which colour is which region's, and what the tiles at the rows' end are."""
    legend = np.full((HEAD, width, 3), PAPER, np.uint8)
    left = MARGIN
    for index, region in enumerate(extractor.regions):
        legend[8:20, left : left + 12] = COLOURS[index % len(COLOURS)]
        _write(legend, region, (left + 18, 18))
        left += 36 + 9 * len(region)
    if last:
        _write(legend, last, (width - TILE - GAP, 18))
    return legend


def _write(image: np.ndarray, text: str, place: tuple[int, int]) -> None:
    import cv2

    plain = text.encode("ascii", "replace").decode()
    cv2.putText(image, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (_INK, _INK, _INK), 1, cv2.LINE_AA)
