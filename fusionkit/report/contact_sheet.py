"""A contact sheet: frames of each class with their region boxes, and each view as it is cut, to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusionkit.artifact import unwritable, write_file
from fusionkit.contracts.extractor import Extractor
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS, EXTRACTORS, did_you_mean
from fusionkit.spec import Spec
from fusionkit.views import RegionSet, cut, regions_of

TILE, GAP, MARGIN, HEAD = 112, 6, 110, 28
_PAPER, _INK = 250, 40
# Okabe and Ito's colours, which the colour-blind can tell apart (https://jfly.uni-koeln.de/color/).
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178))


def write_contact_sheet(dataset: Spec, extractor: Spec, views: RegionSet, count: int, path: Path) -> None:
    """Write a PNG: for each class a row of frames with boxes, and below it a row a view.

    Args:
        dataset: what to show.
        extractor: says where the regions are.
        views: what to cut.
        count: frames a class.
        path: of the PNG.

    Raises:
        ConfigError: if a component or view is wrong, or the path is not a PNG.
        DataError: if the data cannot be read or the picture cannot be written.
    """
    import cv2

    problems = DATASETS.problems(dataset) + EXTRACTORS.problems(extractor)
    if path.suffix.lower() != ".png":
        problems.append(f"--out {path}: a contact sheet is a .png")
    if problems:
        raise ConfigError(problems)
    located: Extractor = EXTRACTORS.build(extractor)
    for region in sorted(regions_of(views) - set(located.regions)):
        raise ConfigError(f"extractor {extractor} has no region {region!r}{did_you_mean(region, located.regions)}")
    source = open_source(dataset, None)
    blocks = [_block(source, located, views, label, count) for label in range(len(source.classes))]
    sheet = np.concatenate([_legend(located, blocks[0].shape[1]), *blocks])
    good, png = cv2.imencode(".png", sheet[..., ::-1])
    if not good:
        raise DataError(f"{path}: the picture could not be encoded")
    try:
        write_file(path, png.tobytes())
    except OSError as error:
        raise unwritable(path, error) from error


def _block(source: Source, extractor: Extractor, views: RegionSet, label: int, count: int) -> np.ndarray:
    """All rows of one class."""
    frames = _some_frames(source, label, count)
    width = MARGIN + count * (TILE + GAP)
    boxes = extractor(frames).boxes if frames else np.empty((0, len(extractor.regions), 5))
    named = [dict(zip(extractor.regions, box, strict=True)) for box in boxes]
    drawn = [_with_boxes(frame, box) for frame, box in zip(frames, named, strict=True)]
    total = int((source.table.label == label).sum())
    rows = [_row(drawn, width, [source.classes[label], f"{total} frames"])]
    for view in views:
        cuts = [cut(frame, box, view) for frame, box in zip(frames, named, strict=True)]
        rows.append(_row([_fitted(image, TILE // 2) for image in cuts], width, [f"  {view}"]))
    return np.concatenate([*rows, np.full((GAP, width, 3), _PAPER, np.uint8)])


def _some_frames(source: Source, label: int, count: int) -> list[np.ndarray]:
    """Frames of one class that have an image, from as many different units as there are."""
    rows = np.flatnonzero(source.table.label == label)
    if not len(rows):
        return []
    _, place_in_unit = _ranks(source.table.unit[rows])
    order = rows[np.argsort(place_in_unit, kind="stable")]
    found: list[np.ndarray] = []
    for start in range(0, len(order), count):
        images = source.images(order[start : start + count])
        found += [image for image in images if image is not None]
        if len(found) >= count:
            break
    return found[:count]


def _ranks(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Units as codes, and a rank of each row in its unit, the middle rows (an expression's apex) first."""
    _, codes, counts = np.unique(units, return_inverse=True, return_counts=True)
    ranks = np.empty(len(units), dtype=int)
    for rows in np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1]):
        ranks[rows] = np.argsort(
            np.argsort(np.abs(np.arange(len(rows)) - len(rows) // 2), kind="stable"), kind="stable"
        )
    return codes, ranks


def _with_boxes(frame: np.ndarray, boxes: dict[str, np.ndarray]) -> np.ndarray:
    import cv2

    image, scale = _resized(frame, TILE)
    for index, box in enumerate(boxes.values()):
        if np.isfinite(box).all():
            x, y, width, height, angle = (float(value) for value in box)
            corners = cv2.boxPoints(((x * scale, y * scale), (width * scale, height * scale), angle))
            cv2.polylines(image, [np.rint(corners).astype(np.int32)], True, _COLOURS[index % len(_COLOURS)], 1)
    return image


def _fitted(image: np.ndarray | None, height: int) -> np.ndarray:
    """A view in a tile's width and at most this height; a missing one is a hatched tile."""
    if image is None:
        missing = np.full((height, TILE, 3), 225, np.uint8)
        missing[(np.add.outer(np.arange(height), np.arange(TILE)) % 12) < 2] = 180
        return missing
    fitted, _ = _resized(image, min(TILE, max(round(height * image.shape[1] / image.shape[0]), 1)))
    return fitted[:TILE]


def _resized(image: np.ndarray, width: int) -> tuple[np.ndarray, float]:
    import cv2

    scale = width / image.shape[1]
    size = (width, min(max(round(image.shape[0] * scale), 1), 2 * TILE))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=shrink)), scale


def _row(images: list[np.ndarray], width: int, label: list[str]) -> np.ndarray:
    height = max((image.shape[0] for image in images), default=TILE // 2) + GAP
    row = np.full((height, width, 3), _PAPER, np.uint8)
    for index, image in enumerate(images):
        left = MARGIN + index * (TILE + GAP)
        row[: image.shape[0], left : left + image.shape[1]] = image
    for line, text in enumerate(label):
        _write(row, text, (8, 16 + 16 * line))
    return row


def _legend(extractor: Extractor, width: int) -> np.ndarray:
    legend = np.full((HEAD, width, 3), _PAPER, np.uint8)
    left = MARGIN
    for index, region in enumerate(extractor.regions):
        legend[8:20, left : left + 12] = _COLOURS[index % len(_COLOURS)]
        _write(legend, region, (left + 18, 18))
        left += 36 + 9 * len(region)
    return legend


def _write(image: np.ndarray, text: str, place: tuple[int, int]) -> None:
    import cv2

    plain = text.encode("ascii", "replace").decode()
    cv2.putText(image, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (_INK, _INK, _INK), 1, cv2.LINE_AA)
