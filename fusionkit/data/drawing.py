"""Drawing of contact sheets: tiles with region boxes and landmarks, rows with labels, a legend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fusionkit.contracts.extractor import Extractor
from fusionkit.errors import DataError
from fusionkit.storage.artifact import write_file

TILE, GAP, MARGIN, LEGEND_HEIGHT = 112, 6, 110, 28  # px
BACKGROUND = 250
# Okabe and Ito's palette for colour-blind readers (https://jfly.uni-koeln.de/color/).
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178))
_TEXT = (40, 40, 40)
_LANDMARK, _OTHER_FACE = (255, 255, 255), (190, 190, 190)


def png_problems(path: Path) -> list[str]:
    """Return what is wrong with the path of a sheet; empty if nothing is."""
    return [] if path.suffix.lower() == ".png" else [f"--out {path} must end in .png"]


def save_sheet(sheet: np.ndarray, path: Path) -> None:
    """Write an RGB image as PNG.

    Raises:
        DataError: if it cannot be encoded.
        StorageError: if it cannot be written.
    """
    import cv2

    encoded, png = cv2.imencode(".png", sheet[..., ::-1])
    if not encoded:
        raise DataError(f"{path}: the picture could not be encoded")
    write_file(path, png.tobytes())


def with_boxes(
    frame: np.ndarray,
    boxes: dict[str, np.ndarray],
    landmarks: np.ndarray | None = None,
    others: Iterable[np.ndarray] = (),
    tile: int = TILE,
) -> np.ndarray:
    """Return a frame scaled to the width of a tile, with its regions, landmarks and the faces that were not chosen.

    Args:
        frame: RGB uint8 (H, W, 3).
        boxes: (5,) by region: x, y, width, height in px and angle in degrees; NaN if not found.
        landmarks: (K, 2) in px; NaN if not found.
        others: (4,) left, top, right, bottom in px of each face that was not chosen.
        tile: width in px.
    """
    import cv2

    image, scale = _resized(frame, tile)
    for corners in others:
        low, high = (tuple(np.rint(corners[side] * scale).astype(int).tolist()) for side in (slice(2), slice(2, 4)))
        cv2.rectangle(image, low, high, _OTHER_FACE, 1)
    for index, box in enumerate(boxes.values()):
        if np.isfinite(box).all():
            x, y, width, height, angle = (float(value) for value in box)
            corners = cv2.boxPoints(((x * scale, y * scale), (width * scale, height * scale), angle))
            cv2.polylines(image, [np.rint(corners).astype(np.int32)], True, COLOURS[index % len(COLOURS)], 1)
    for point in () if landmarks is None else landmarks[np.isfinite(landmarks).all(-1)]:
        centre = np.rint((point + 0.5) * scale - 0.5).astype(int).tolist()
        cv2.circle(image, centre, 1, _LANDMARK, -1)
    return image


def fitted(image: np.ndarray | None, height: int, tile: int = TILE) -> np.ndarray:
    """Return a view scaled to the width of a tile and at most this height; a hatched tile for a missing view."""
    if image is None:
        missing = np.full((height, tile, 3), 225, np.uint8)
        missing[(np.add.outer(np.arange(height), np.arange(tile)) % 12) < 2] = 180
        return missing
    drawn, _ = _resized(image, min(tile, max(round(height * image.shape[1] / image.shape[0]), 1)), tile)
    return drawn[:tile]


def row_of(
    images: Sequence[np.ndarray],
    width: int,
    label: Sequence[str],
    tile: int = TILE,
    last: np.ndarray | None = None,
) -> np.ndarray:
    """Return images side by side after a label of a few lines.

    Args:
        images: tiles, from the left.
        width: width of the row in px.
        label: lines of text.
        tile: width of a tile in px.
        last: tile at the right end.
    """
    tiles = [*images, *([] if last is None else [last])]
    height = max((image.shape[0] for image in tiles), default=tile // 2) + GAP
    row = np.full((height, width, 3), BACKGROUND, np.uint8)
    lefts = [*(MARGIN + index * (tile + GAP) for index in range(len(images))), width - tile - GAP]
    for image, left in zip(tiles, lefts, strict=False):
        row[: image.shape[0], left : left + image.shape[1]] = image
    for line, text in enumerate(label):
        _write(row, text, (8, 16 + 16 * line))
    return row


def legend_of(extractor: Extractor, width: int, last: str = "") -> np.ndarray:
    """Return a legend: the colour of each region, and a caption of the tiles at the right end."""
    legend = np.full((LEGEND_HEIGHT, width, 3), BACKGROUND, np.uint8)
    left = MARGIN
    for index, region in enumerate(extractor.regions):
        legend[8:20, left : left + 12] = COLOURS[index % len(COLOURS)]
        _write(legend, region, (left + 18, 18))
        left += 36 + 9 * len(region)
    if last:
        _write(legend, last, (width - TILE - GAP, 18))
    return legend


def _resized(image: np.ndarray, width: int, tile: int = 0) -> tuple[np.ndarray, float]:
    import cv2

    scale = width / image.shape[1]
    size = (width, min(max(round(image.shape[0] * scale), 1), 2 * (tile or width)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=interpolation)), scale


def _write(image: np.ndarray, text: str, position: tuple[int, int]) -> None:
    import cv2

    ascii_text = text.encode("ascii", "replace").decode()
    cv2.putText(image, ascii_text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT, 1, cv2.LINE_AA)
