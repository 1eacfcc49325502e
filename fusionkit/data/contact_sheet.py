"""A contact sheet: frames of each class with their region boxes, and each view as it is cut, to be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from fusionkit.config.views import RegionSet, View, cut, regions_of
from fusionkit.contracts.extractor import Extractor
from fusionkit.data.drawing import GAP, MARGIN, PAPER, TILE, fitted, legend_of, row_of, save_sheet, with_boxes
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import ConfigError
from fusionkit.registry import DATASETS, EXTRACTORS, did_you_mean
from fusionkit.registry.spec import Spec

_ROOM = 2.2  # the side of the picture, in sizes of all that was found
_SMALL = 0.66  # of the frame's shorter side: a larger square shows little more than the frame does


def zoom(
    frame: np.ndarray, boxes: Mapping[str, np.ndarray], landmarks: np.ndarray | None
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None] | None:
    """A square around all regions, and where they are in it.

    Args:
        frame: RGB uint8 (H, W, 3).
        boxes: (5,) by region, NaN where not found.
        landmarks: (K, 2), NaN where not found.

    Returns:
        The square (S, S, 3), black outside of the frame, boxes and landmarks; None where nothing was found.
    """
    found = np.array([box for box in boxes.values() if np.isfinite(box).all()]).reshape(-1, 5)
    if not len(found):
        return None
    reach = np.hypot(found[:, 2], found[:, 3]).max() / 2
    low, high = found[:, :2].min(0) - reach, found[:, :2].max(0) + reach
    side = max(round(float((high - low).max()) * _ROOM / 2), 8)
    left, top = np.rint((low + high) / 2 - side / 2).astype(int).tolist()
    square = np.zeros((side, side, 3), np.uint8)
    part = frame[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    square[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] = part
    corner = np.array([left, top])
    moved = {name: np.concatenate([box[:2] - corner, box[2:]]) for name, box in boxes.items()}
    return square, moved, None if landmarks is None else landmarks - corner


def is_small(square: np.ndarray, frame: np.ndarray) -> bool:
    """Whether a close-up shows more than the frame that it was taken from."""
    return bool(square.shape[0] < _SMALL * min(frame.shape[:2]))


class MeanViews:
    """Takes in frames and keeps sums only.

    Args:
        extractor: says where the regions are.
        views: what to cut.

    Attributes:
        count: frames taken in so far.
    """

    def __init__(self, extractor: Extractor, views: RegionSet) -> None:
        self.count = 0
        self._extractor, self._views = extractor, views
        self._sums: dict[View | None, tuple[np.ndarray, int]] = {}

    def add(self, frames: Sequence[np.ndarray]) -> None:
        """Take in frames, RGB uint8 (H, W, 3)."""
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
        """The mean of a view, or of the frames themselves, in the size of the first one; None where there was none."""
        if view not in self._sums:
            return None
        total, count = self._sums[view]
        return np.rint(total / count).astype(np.uint8)

    def _sum(self, view: View | None, image: np.ndarray) -> None:
        import cv2

        total, count = self._sums.get(view, (np.zeros(image.shape), 0))
        height, width = total.shape[:2]
        if image.shape != total.shape:
            shrink = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_LINEAR
            image = cv2.resize(image, (width, height), interpolation=shrink)
        self._sums[view] = total + image, count + 1


AVERAGED = 64  # frames a class whose mean is shown


def write_contact_sheet(dataset: Spec, extractor: Spec, views: RegionSet, count: int, path: Path) -> None:
    """Write a PNG: for each class a row of frames with boxes, below it a row a view, and the means of more frames.

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
    problems = DATASETS.problems(dataset) + EXTRACTORS.problems(extractor)
    if path.suffix.lower() != ".png":
        problems.append(f"--out {path}: a contact sheet is a .png")
    if problems:
        raise ConfigError(problems)
    save_sheet(draw_contact_sheet(open_source(dataset, None), extractor, views, count, AVERAGED), path)


def draw_contact_sheet(
    source: Source, extractor: Spec, views: RegionSet, count: int, averaged: int = 0, *, abreast: int = 1
) -> np.ndarray:
    """The sheet as an RGB image; arguments as of :func:`write_contact_sheet`, and how many classes stand abreast.

    The mean of ``averaged`` frames a class stands at the end of each row; 0 leaves it out.

    Raises:
        ConfigError: if a view is of a region that the extractor does not have.
        DataError: if the data cannot be read.
    """
    located = built_for(extractor, views)
    blocks = [_block(source, located, views, label, count, averaged) for label in range(len(source.classes))]
    rows = [_abreast(blocks[start : start + abreast], abreast) for start in range(0, len(blocks), abreast)]
    last = f"mean of <= {averaged}" if averaged else ""
    return np.concatenate([legend_of(located, rows[0].shape[1], last), *rows])


def _abreast(blocks: list[np.ndarray], places: int) -> np.ndarray:
    """Blocks of one width beside each other; places that are left over stay empty."""
    width = blocks[0].shape[1]
    row = np.full((max(len(block) for block in blocks), places * width, 3), PAPER, np.uint8)
    for place, block in enumerate(blocks):
        row[: len(block), place * width : (place + 1) * width] = block
    return row


def built_for(extractor: Spec, views: RegionSet) -> Extractor:
    """The extractor, which must know every region of the views.

    Raises:
        ConfigError: if it does not.
    """
    located: Extractor = EXTRACTORS.build(extractor)
    for region in sorted(regions_of(views) - set(located.regions)):
        raise ConfigError(f"extractor {extractor} has no region {region!r}{did_you_mean(region, located.regions)}")
    return located


def _block(source: Source, extractor: Extractor, views: RegionSet, label: int, count: int, averaged: int) -> np.ndarray:
    """All rows of one class."""
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
    return block_of(shown, extractor, views, [source.classes[label], f"{total} frames"], width, mean=mean)


def block_of(
    frames: list[np.ndarray],
    extractor: Extractor,
    views: RegionSet,
    label: list[str],
    width: int,
    tile: int = TILE,
    mean: MeanViews | None = None,
) -> np.ndarray:
    """Frames with their boxes beside each other, below them the faces of large frames, and a row a view.

    Args:
        frames: RGB uint8 (H, W, 3).
        extractor: says where the regions are.
        views: what to cut.
        label: of the row of frames.
        width: of the block in px.
        tile: of a picture in px.
        mean: of frames and views; it stands at the end of each row.
    """
    found = extractor(frames) if frames else None
    named = [dict(zip(extractor.regions, box, strict=True)) for box in (found.boxes if found else ())]
    marks = found.landmarks if found and found.landmarks is not None else [None] * len(frames)
    drawn, near = [], []
    for frame, boxes, mark in zip(frames, named, marks, strict=True):
        drawn.append(with_boxes(frame, boxes, mark, _faces(extractor, frame), tile))
        near.append(zoom(frame, boxes, mark))
    rows = [row_of(drawn, width, label, tile, _mean_tile(mean, None, tile, tile))]
    if any(one and is_small(one[0], frame) for one, frame in zip(near, frames, strict=True)):
        blank = np.full((8, tile, 3), PAPER, np.uint8)
        closer = [with_boxes(*one, tile=tile) if one else blank for one in near]
        rows.append(row_of(closer, width, ["  closer"], tile))
    for view in views:
        cuts = [cut(frame, box, view) for frame, box in zip(frames, named, strict=True)]
        tiles = [fitted(image, tile // 2, tile) for image in cuts]
        rows.append(row_of(tiles, width, [f"  {view}"], tile, _mean_tile(mean, view, tile // 2, tile)))
    return np.concatenate([*rows, np.full((GAP, width, 3), PAPER, np.uint8)])


def _mean_tile(mean: MeanViews | None, view: View | None, height: int, tile: int) -> np.ndarray | None:
    image = mean.mean(view) if mean else None
    return None if image is None else fitted(image, height, tile)


def _faces(extractor: Extractor, frame: np.ndarray) -> list[np.ndarray]:
    """The boxes of all faces of a frame, where the extractor finds faces."""
    return [face.box for face in extractor.detect(frame)] if extractor.finds_faces else []


def _frames(source: Source, label: int, count: int) -> Iterator[np.ndarray]:
    """The frames of one class that have an image, of different units first; ``count`` are read at a time."""
    rows = np.flatnonzero(source.table.label == label)
    if not len(rows):
        return
    _, place_in_unit = _ranks(source.table.unit[rows])
    order = rows[np.argsort(place_in_unit, kind="stable")]
    for start in range(0, len(order), count):
        yield from (image for image in source.images(order[start : start + count]) if image is not None)


def _ranks(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Units as codes, and a rank of each row in its unit, the middle rows (an expression's apex) first."""
    _, codes, counts = np.unique(units, return_inverse=True, return_counts=True)
    ranks = np.empty(len(units), dtype=int)
    for rows in np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1]):
        ranks[rows] = np.argsort(
            np.argsort(np.abs(np.arange(len(rows)) - len(rows) // 2), kind="stable"), kind="stable"
        )
    return codes, ranks
