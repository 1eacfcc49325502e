"""Contact sheet of composite frames, each below the frames that it was composed of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusionkit.contracts.dataset import FaceDataset
from fusionkit.data.drawing import BACKGROUND, GAP, TILE, png_problems, save_sheet
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec


def write_composite_sheet(dataset: Spec, count: int, path: Path) -> int:
    """Write a PNG with one column per composite: from the top its source frames, below them the composite.

    Args:
        dataset: data set with composite frames.
        count: composites to show, sampled from those that have an image.
        path: path of the PNG.

    Returns:
        Number of composites shown.

    Raises:
        ConfigError: if the data set is invalid or has no composites, or the path is not a PNG.
        DataError: if the data cannot be read, or no composite has an image.
        StorageError: if the picture cannot be written.
    """
    if problems := png_problems(path):
        raise ConfigError(problems)
    faces: FaceDataset = DATASETS.build(dataset)
    faces.table()
    sources = faces.composed_of()
    rows = np.flatnonzero((sources >= 0).any(1)) if sources is not None else np.empty(0, int)
    if sources is None or not len(rows):
        raise ConfigError(
            f"data set {dataset} has no composite frames", hint="example: swapped:source=SPEC,classes=Fear"
        )
    shown: dict[int, np.ndarray] = {}
    for row in np.random.default_rng(0).permutation(rows).tolist():
        column = _column(faces, [*sources[row].tolist(), row])
        if column is not None:
            shown[row] = column
        if len(shown) == count:
            break
    if not shown:
        raise DataError(f"data set {dataset}: none of {len(rows)} composites has an image")
    save_sheet(np.concatenate([shown[row] for row in sorted(shown)], axis=1), path)
    return len(shown)


def _column(faces: FaceDataset, rows: list[int]) -> np.ndarray | None:
    """Return frames below each other, an empty tile for row -1; None if one has no image."""
    import cv2

    images = iter(faces.images(np.array([row for row in rows if row >= 0])))
    column = np.full((len(rows) * (TILE + GAP), TILE + GAP, 3), BACKGROUND, np.uint8)
    for index, row in enumerate(rows):
        if row < 0:
            continue
        image = next(images)
        if image is None:
            return None
        top = index * (TILE + GAP)
        column[top : top + TILE, :TILE] = cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    return column
