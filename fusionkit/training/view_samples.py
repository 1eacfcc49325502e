"""Views of the frames of a data set with their labels: what fine-tuning is shown."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fusionkit.contracts.extractor import Extractor
from fusionkit.engine.located import locate
from fusionkit.engine.source import Source
from fusionkit.registry import EXTRACTORS
from fusionkit.spec import Spec
from fusionkit.training.dataset_images import DatasetImages
from fusionkit.training.images import CachedImages
from fusionkit.views import FACE, View, cut


@dataclass(frozen=True, eq=False)
class ViewSample:
    """One frame.

    Attributes:
        views: RGB uint8 (h, w, 3) each, main view first; None where a region was not found.
        label: class number; -1 where there is none.
    """

    views: tuple[np.ndarray | None, ...]
    label: int

    @property
    def whole(self) -> bool:
        """Whether every view is there."""
        return all(view is not None for view in self.views)


class ViewSamples:
    """Frames by number, cut as the embed stage of the bench cuts them. Reading is safe from several threads.

    Args:
        source: the data set.
        rows: (n,) int64, rows of the source.
        labels: (n,) int64 in 0..C-1, or -1.
        extractor: says where regions are; it is built only if a view needs it.
        views: main view first.
        budget: bytes of memory for decoded frames; 0 for frames that are read once, of which nothing is remembered.

    Raises:
        ConfigError: if the data set brings embeddings and no images.
    """

    def __init__(
        self,
        source: Source,
        rows: np.ndarray,
        labels: np.ndarray,
        extractor: Spec,
        views: Sequence[View],
        budget: int,
    ) -> None:
        self.frames = CachedImages(DatasetImages(source, rows), budget)
        self.labels = labels
        self.cuts = tuple(views)
        self._extractor: Extractor | None = None
        if any(view != FACE for view in views):
            self._extractor = EXTRACTORS.build(extractor)
        self._boxes: dict[int, dict[str, np.ndarray]] | None = {} if budget else None
        self._lock = threading.Lock()  # the contract of an extractor does not promise that threads may share it

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> ViewSample | None:
        """The views of a frame; None where there is none at all."""
        frame = self.frames.read(index)
        if frame is None:
            return None
        boxes = self._located(index, frame)
        views = tuple(cut(frame, boxes, view) for view in self.cuts)
        if all(view is None for view in views):
            return None
        return ViewSample(views, int(self.labels[index]))

    def where(self, index: int) -> str:
        """As the data set names it."""
        return self.frames.where(index)

    def _located(self, index: int, frame: np.ndarray) -> dict[str, np.ndarray]:
        """The boxes of a frame, which are looked for once."""
        with self._lock:
            known = self._boxes.get(index) if self._boxes is not None else None
            if known is None:
                (known,) = locate(self._extractor, [frame]).boxes
                if self._boxes is not None:
                    self._boxes[index] = known
            return known
