"""The mean face of many frames, and the mean of each view that is cut from them: sharp where cropping is right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusionkit.contracts.extractor import Extractor
from fusionkit.views import RegionSet, View, cut


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
