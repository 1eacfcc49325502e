"""Frames and where their regions are, a batch at a time: what views are cut from, to be embedded or to be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from fusionkit.contracts.extractor import Extractor
from fusionkit.engine.source import Source
from fusionkit.views import View, cut

BATCH = 64


@dataclass(frozen=True, eq=False)
class LocatedBatch:
    """The images of a batch.

    Attributes:
        places: of the rows that have an image, from 0 in the batch.
        frames: their images, RGB uint8 (H, W, 3).
        boxes: their boxes by region; empty without an extractor.
    """

    places: list[int]
    frames: list[np.ndarray]
    boxes: list[dict[str, np.ndarray]]

    def views(self, view: View) -> dict[int, np.ndarray | None]:
        """One view by place; None where a region was not found. Rows without an image are not among them."""
        cuts = [cut(frame, box, view) for frame, box in zip(self.frames, self.boxes, strict=True)]
        return dict(zip(self.places, cuts, strict=True))


def locate(extractor: Extractor | None, images: Sequence[np.ndarray | None]) -> LocatedBatch:
    """Say where the regions of a batch are."""
    frames = [image for image in images if image is not None]
    found = extractor(frames) if extractor and frames else None
    boxes: list[dict[str, np.ndarray]] = [{} for _ in frames]
    if extractor and found:
        boxes = [dict(zip(extractor.regions, box, strict=True)) for box in found.boxes]
    return LocatedBatch([place for place, image in enumerate(images) if image is not None], frames, boxes)


def read_batches(source: Source, rows: np.ndarray) -> Iterator[tuple[int, list[np.ndarray | None]]]:
    """Batches of images with their start; the next one is read while this one is worked on."""
    starts = range(0, len(rows), BATCH)
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(source.images, rows[:BATCH])
        for start in starts:
            images = following.result()
            if start + BATCH < len(rows):
                following = reader.submit(source.images, rows[start + BATCH : start + 2 * BATCH])
            yield start, images
