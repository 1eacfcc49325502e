"""A picture of frames that a data set makes up, each below the frames that it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fusionkit.contracts.dataset import FaceDataset
from fusionkit.data.drawing import GAP, TILE
from fusionkit.errors import ConfigError, DataError
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit.storage.artifact import write_file

_PAPER = 250


def write_composite_sheet(dataset: Spec, count: int, path: Path) -> int:
    """Write a PNG, a column a composite: the frames it was made of from the top, and below them the composite.

    Args:
        dataset: which makes some of its frames up.
        count: composites to show, drawn from all that have an image.
        path: of the PNG.

    Returns:
        How many it shows.

    Raises:
        ConfigError: if the data set is wrong or makes nothing up, or the path is not a PNG.
        DataError: if the data cannot be read, or none of the composites has an image.
        StorageError: if the picture cannot be written.
    """
    import cv2

    if path.suffix.lower() != ".png":
        raise ConfigError(f"--out {path}: the picture is a .png")
    faces: FaceDataset = DATASETS.build(dataset)
    faces.table()
    made_of = faces.composed_of()
    rows = np.flatnonzero((made_of >= 0).any(1)) if made_of is not None else np.empty(0, int)
    if made_of is None or not len(rows):
        raise ConfigError(f"data set {dataset} makes no frames up", hint="swapped:source=SPEC,classes=Fear does")
    shown: dict[int, np.ndarray] = {}
    for row in np.random.default_rng(0).permutation(rows).tolist():
        column = _column(faces, [*made_of[row].tolist(), row])
        if column is not None:
            shown[row] = column
        if len(shown) == count:
            break
    if not shown:
        raise DataError(f"data set {dataset}: none of {len(rows)} composites has an image")
    good, png = cv2.imencode(".png", np.concatenate([shown[row] for row in sorted(shown)], axis=1)[..., ::-1])
    if not good:
        raise DataError(f"{path}: the picture could not be encoded")
    write_file(path, png.tobytes())
    return len(shown)


def _column(faces: FaceDataset, rows: list[int]) -> np.ndarray | None:
    """Frames below each other; None where one has no image. A row of -1 leaves its tile empty."""
    import cv2

    images = iter(faces.images(np.array([row for row in rows if row >= 0])))
    column = np.full((len(rows) * (TILE + GAP), TILE + GAP, 3), _PAPER, np.uint8)
    for place, row in enumerate(rows):
        image = next(images) if row >= 0 else None
        if row >= 0 and image is None:
            return None
        if image is not None:
            top = place * (TILE + GAP)
            column[top : top + TILE, :TILE] = cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    return column
