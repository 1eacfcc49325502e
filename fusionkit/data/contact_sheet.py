"""Contact sheet of a data set: frames of each class with their region boxes, and the views cut from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from fusionkit.config.views import RegionSet, View, cut, regions_of
from fusionkit.contracts.extractor import Extractor
from fusionkit.data.drawing import (
    BACKGROUND,
    GAP,
    MARGIN,
    TILE,
    fitted,
    legend_of,
    png_problems,
    row_of,
    save_sheet,
    with_boxes,
)
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import ConfigError
from fusionkit.registry import DATASETS, EXTRACTORS, did_you_mean
from fusionkit.registry.spec import Spec

AVERAGED = 64  # frames per class in the mean
_ZOOM_MARGIN = 2.2  # side of the zoom in extents of the regions
_ZOOM_LIMIT = 0.66  # of the shorter side of the frame: a larger zoom shows little more than the frame


def write_contact_sheet(dataset: Spec, extractor: Spec, views: RegionSet, count: int, path: Path) -> None:
    """Write a PNG: per class a row of frames with boxes, below it a row per view, at the right the mean of more frames.

    Args:
        dataset: data set to show.
        extractor: region extractor.
        views: views to cut.
        count: frames per class.
        path: path of the PNG.

    Raises:
        ConfigError: if a component or view is invalid, or the path is not a PNG.
        DataError: if the data cannot be read.
        StorageError: if the picture cannot be written.
    """
    problems = DATASETS.problems(dataset) + EXTRACTORS.problems(extractor) + png_problems(path)
    if problems:
        raise ConfigError(problems)
    save_sheet(draw_contact_sheet(open_source(dataset, None), extractor, views, count, AVERAGED), path)


def draw_contact_sheet(
    source: Source, extractor: Spec, views: RegionSet, count: int, averaged: int = 0, *, columns: int = 1
) -> np.ndarray:
    """Return the sheet as an RGB image.

    Args:
        source: opened data set.
        extractor: region extractor.
        views: views to cut.
        count: frames per class.
        averaged: frames per class in the mean at the end of each row; 0: no mean.
        columns: classes side by side.

    Raises:
        ConfigError: if the extractor lacks a region of a view.
        DataError: if the data cannot be read.
    """
    built = build_extractor(extractor, views)
    blocks = [_class_block(source, built, views, label, count, averaged) for label in range(len(source.classes))]
    rows = [_side_by_side(blocks[start : start + columns], columns) for start in range(0, len(blocks), columns)]
    last = f"mean of <= {averaged}" if averaged else ""
    return np.concatenate([legend_of(built, rows[0].shape[1], last), *rows])


def build_extractor(extractor: Spec, views: RegionSet) -> Extractor:
    """Return the extractor.

    Raises:
        ConfigError: if it lacks a region of a view.
    """
    built: Extractor = EXTRACTORS.build(extractor)
    for region in sorted(regions_of(views) - set(built.regions)):
        raise ConfigError(f"extractor {extractor} has no region {region!r}{did_you_mean(region, built.regions)}")
    return built


def draw_block(
    frames: list[np.ndarray],
    extractor: Extractor,
    views: RegionSet,
    label: list[str],
    width: int,
    tile: int = TILE,
    mean: MeanViews | None = None,
) -> np.ndarray:
    """Return frames with boxes side by side, below them zooms on small faces, and a row per view.

    Args:
        frames: RGB uint8 (H, W, 3).
        extractor: region extractor.
        views: views to cut.
        label: lines of text beside the frames.
        width: width of the block in px.
        tile: width of a tile in px.
        mean: mean of frames and views, shown at the end of each row.
    """
    found = extractor(frames) if frames else None
    named = [dict(zip(extractor.regions, box, strict=True)) for box in (found.boxes if found else ())]
    landmarks = found.landmarks if found and found.landmarks is not None else [None] * len(frames)
    drawn, zooms = [], []
    for frame, boxes, points in zip(frames, named, landmarks, strict=True):
        drawn.append(with_boxes(frame, boxes, points, _detected_faces(extractor, frame), tile))
        zooms.append(zoom(frame, boxes, points))
    rows = [row_of(drawn, width, label, tile, _mean_tile(mean, None, tile, tile))]
    if any(each and is_enlarged(each[0], frame) for each, frame in zip(zooms, frames, strict=True)):
        blank = np.full((8, tile, 3), BACKGROUND, np.uint8)
        enlarged = [with_boxes(*each, tile=tile) if each else blank for each in zooms]
        rows.append(row_of(enlarged, width, ["  zoom"], tile))
    for view in views:
        cuts = [cut(frame, box, view) for frame, box in zip(frames, named, strict=True)]
        tiles = [fitted(image, tile // 2, tile) for image in cuts]
        rows.append(row_of(tiles, width, [f"  {view}"], tile, _mean_tile(mean, view, tile // 2, tile)))
    return np.concatenate([*rows, np.full((GAP, width, 3), BACKGROUND, np.uint8)])


def zoom(
    frame: np.ndarray, boxes: Mapping[str, np.ndarray], landmarks: np.ndarray | None
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None] | None:
    """Return a square crop around all regions, with the boxes and landmarks in its coordinates.

    Args:
        frame: RGB uint8 (H, W, 3).
        boxes: (5,) by region, NaN if not found.
        landmarks: (K, 2), NaN if not found.

    Returns:
        The crop (S, S, 3), black outside of the frame, boxes and landmarks; None if no region was found.
    """
    found = np.array([box for box in boxes.values() if np.isfinite(box).all()]).reshape(-1, 5)
    if not len(found):
        return None
    reach = np.hypot(found[:, 2], found[:, 3]).max() / 2
    low, high = found[:, :2].min(0) - reach, found[:, :2].max(0) + reach
    side = max(round(float((high - low).max()) * _ZOOM_MARGIN / 2), 8)
    left, top = np.rint((low + high) / 2 - side / 2).astype(int).tolist()
    square = np.zeros((side, side, 3), np.uint8)
    inside = frame[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    square[max(-top, 0) :, max(-left, 0) :][: inside.shape[0], : inside.shape[1]] = inside
    corner = np.array([left, top])
    moved = {name: np.concatenate([box[:2] - corner, box[2:]]) for name, box in boxes.items()}
    return square, moved, None if landmarks is None else landmarks - corner


def is_enlarged(square: np.ndarray, frame: np.ndarray) -> bool:
    """Return whether a zoom is clearly smaller than its frame, so that it shows more detail."""
    return bool(square.shape[0] < _ZOOM_LIMIT * min(frame.shape[:2]))


class MeanViews:
    """Running mean of frames and of their views.

    Args:
        extractor: region extractor.
        views: views to cut.

    Attributes:
        count: number of frames added.
    """

    def __init__(self, extractor: Extractor, views: RegionSet) -> None:
        self.count = 0
        self._extractor, self._views = extractor, views
        self._sums: dict[View | None, tuple[np.ndarray, int]] = {}

    def add(self, frames: Sequence[np.ndarray]) -> None:
        """Add frames, RGB uint8 (H, W, 3)."""
        if not frames:
            return
        self.count += len(frames)
        for frame, boxes in zip(frames, self._extractor(frames).boxes, strict=True):
            named = dict(zip(self._extractor.regions, boxes, strict=True))
            self._sum(None, frame)
            for view in self._views:
                image = cut(frame, named, view)
                if image is not None:
                    self._sum(view, image)

    def mean(self, view: View | None = None) -> np.ndarray | None:
        """Return the mean of a view, or of the frames, in the size of the first; None if there was none."""
        if view not in self._sums:
            return None
        total, count = self._sums[view]
        return np.rint(total / count).astype(np.uint8)

    def _sum(self, view: View | None, image: np.ndarray) -> None:
        import cv2

        total, count = self._sums.get(view, (np.zeros(image.shape), 0))
        height, width = total.shape[:2]
        if image.shape != total.shape:
            interpolation = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_LINEAR
            image = cv2.resize(image, (width, height), interpolation=interpolation)
        self._sums[view] = total + image, count + 1


def _class_block(
    source: Source, extractor: Extractor, views: RegionSet, label: int, count: int, averaged: int
) -> np.ndarray:
    frames = _frames(source, label, count)
    shown = list(islice(frames, count))
    mean = None
    if averaged:
        mean = MeanViews(extractor, views)
        mean.add(shown[:averaged])
        while mean.count < averaged and (more := list(islice(frames, min(count, averaged - mean.count)))):
            mean.add(more)
    width = MARGIN + count * (TILE + GAP) + (TILE + 3 * GAP if averaged else 0)
    total = int((source.table.label == label).sum())
    return draw_block(shown, extractor, views, [source.classes[label], f"{total} frames"], width, mean=mean)


def _side_by_side(blocks: list[np.ndarray], columns: int) -> np.ndarray:
    width = blocks[0].shape[1]
    row = np.full((max(len(block) for block in blocks), columns * width, 3), BACKGROUND, np.uint8)
    for index, block in enumerate(blocks):
        row[: len(block), index * width : (index + 1) * width] = block
    return row


def _mean_tile(mean: MeanViews | None, view: View | None, height: int, tile: int) -> np.ndarray | None:
    image = mean.mean(view) if mean else None
    return None if image is None else fitted(image, height, tile)


def _detected_faces(extractor: Extractor, frame: np.ndarray) -> list[np.ndarray]:
    return [face.box for face in extractor.detect(frame)] if extractor.finds_faces else []


def _frames(source: Source, label: int, count: int) -> Iterator[np.ndarray]:
    """Yield the images of one class, different units first; ``count`` frames are read at a time."""
    rows = np.flatnonzero(source.table.label == label)
    if not len(rows):
        return
    order = rows[np.argsort(_rank_in_unit(source.table.unit[rows]), kind="stable")]
    for start in range(0, len(order), count):
        yield from (image for image in source.images(order[start : start + count]) if image is not None)


def _rank_in_unit(units: np.ndarray) -> np.ndarray:
    """Return a rank of each row in its unit, the middle rows (the apex of an expression) first."""
    _, codes, counts = np.unique(units, return_inverse=True, return_counts=True)
    ranks = np.empty(len(units), dtype=int)
    for rows in np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1]):
        from_middle = np.abs(np.arange(len(rows)) - len(rows) // 2)
        ranks[rows] = np.argsort(np.argsort(from_middle, kind="stable"), kind="stable")
    return ranks
