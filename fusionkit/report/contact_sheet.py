"""A contact sheet: frames of each class with their region boxes, and each view as it is cut, to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusionkit.contracts.extractor import Extractor
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import ConfigError
from fusionkit.registry import DATASETS, EXTRACTORS, did_you_mean
from fusionkit.report.sheet import GAP, MARGIN, PAPER, TILE, fitted, legend_of, row_of, save_sheet, with_boxes
from fusionkit.spec import Spec
from fusionkit.views import RegionSet, cut, regions_of


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
    problems = DATASETS.problems(dataset) + EXTRACTORS.problems(extractor)
    if path.suffix.lower() != ".png":
        problems.append(f"--out {path}: a contact sheet is a .png")
    if problems:
        raise ConfigError(problems)
    save_sheet(draw_contact_sheet(open_source(dataset, None), extractor, views, count), path)


def draw_contact_sheet(source: Source, extractor: Spec, views: RegionSet, count: int) -> np.ndarray:
    """The sheet as an RGB image; arguments as of :func:`write_contact_sheet`.

    Raises:
        ConfigError: if a view is of a region that the extractor does not have.
        DataError: if the data cannot be read.
    """
    located = built_for(extractor, views)
    blocks = [_block(source, located, views, label, count) for label in range(len(source.classes))]
    return np.concatenate([legend_of(located, blocks[0].shape[1]), *blocks])


def built_for(extractor: Spec, views: RegionSet) -> Extractor:
    """The extractor, which must know every region of the views.

    Raises:
        ConfigError: if it does not.
    """
    located: Extractor = EXTRACTORS.build(extractor)
    for region in sorted(regions_of(views) - set(located.regions)):
        raise ConfigError(f"extractor {extractor} has no region {region!r}{did_you_mean(region, located.regions)}")
    return located


def _block(source: Source, extractor: Extractor, views: RegionSet, label: int, count: int) -> np.ndarray:
    """All rows of one class."""
    frames = _some_frames(source, label, count)
    width = MARGIN + count * (TILE + GAP)
    total = int((source.table.label == label).sum())
    return block_of(frames, extractor, views, [source.classes[label], f"{total} frames"], width)


def block_of(
    frames: list[np.ndarray], extractor: Extractor, views: RegionSet, label: list[str], width: int, tile: int = TILE
) -> np.ndarray:
    """Frames with their boxes beside each other, and below them a row a view.

    Args:
        frames: RGB uint8 (H, W, 3).
        extractor: says where the regions are.
        views: what to cut.
        label: of the row of frames.
        width: of the block in px.
        tile: of a picture in px.
    """
    found = extractor(frames) if frames else None
    named = [dict(zip(extractor.regions, box, strict=True)) for box in (found.boxes if found else ())]
    marks = found.landmarks if found and found.landmarks is not None else [None] * len(frames)
    drawn = [
        with_boxes(frame, box, mark, _faces(extractor, frame), tile)
        for frame, box, mark in zip(frames, named, marks, strict=True)
    ]
    rows = [row_of(drawn, width, label, tile)]
    for view in views:
        cuts = [cut(frame, box, view) for frame, box in zip(frames, named, strict=True)]
        rows.append(row_of([fitted(image, tile // 2, tile) for image in cuts], width, [f"  {view}"], tile))
    return np.concatenate([*rows, np.full((GAP, width, 3), PAPER, np.uint8)])


def _faces(extractor: Extractor, frame: np.ndarray) -> list[np.ndarray]:
    """The boxes of all faces of a frame, where the extractor finds faces."""
    return [face.box for face in extractor.detect(frame)] if extractor.finds_faces else []


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
