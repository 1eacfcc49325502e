"""The contract of a region extractor: it says where the parts of a face are; the kernel cuts them out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fusionkit.contracts.component import Component
from fusionkit.errors import PluginError


@dataclass(frozen=True, eq=False)
class Located:
    """Where R regions are in N frames.

    Attributes:
        boxes: (N, R, 5) float32: centre x, centre y, width, height in pixels of the frame, and angle in degrees,
            by which the box is turned clockwise as seen on the screen. A row of NaN: not found.
        score: (N, R) float32 in 0..1: how sure the extractor is; 0 where not found.
        landmarks: (N, K, 2) float32 x, y in pixels, NaN where not found; None for an extractor without landmarks.
    """

    boxes: np.ndarray
    score: np.ndarray
    landmarks: np.ndarray | None = None


class Extractor(Component, ABC):
    """Locates the regions of faces."""

    kind: ClassVar[str] = "extractor"

    @property
    @abstractmethod
    def regions(self) -> tuple[str, ...]:
        """The R names of the regions it can locate, in the order of the boxes."""

    @abstractmethod
    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        """Locate every region in every frame.

        Args:
            frames: N images, RGB uint8 (H, W, 3), of possibly different sizes.
        """

    def __call__(self, frames: Sequence[np.ndarray]) -> Located:
        """:meth:`locate`, checked: an unusable box (not finite, or without area) becomes a row of NaN with score 0.

        Raises:
            PluginError: if the shapes are not those of the contract.
        """
        found = self.locate(frames)
        shape = (len(frames), len(self.regions))
        boxes = np.array(found.boxes, dtype=np.float32)
        score = np.array(found.score, dtype=np.float32)
        if boxes.shape != (*shape, 5) or score.shape != shape:
            raise PluginError(
                f"extractor {type(self).__name__} gave boxes {boxes.shape} and scores {score.shape}; "
                f"expected {(*shape, 5)} and {shape} for {shape[0]} frames and {shape[1]} regions"
            )
        usable = np.isfinite(boxes).all(-1) & (boxes[..., 2] > 0) & (boxes[..., 3] > 0)
        boxes[~usable] = np.nan
        score[~usable] = 0.0
        return Located(boxes, score, found.landmarks)
