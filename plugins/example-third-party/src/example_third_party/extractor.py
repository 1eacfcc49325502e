"""An extractor: locates the regions of a face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np

from fusionkit.contracts import Extractor, Located, Range


class ExampleParts(Extractor):
    """Upper and lower part of every frame, for crops that are already aligned.

    Args:
        cut: upper edge of the lower part, as a fraction of the height.

    Reference: none; the two parts of an aligned crop are the simplest regions.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"cut": 0.6})

    def __init__(self, cut: Annotated[float, Range(above=0, below=1)] = 0.5) -> None:
        self.cut = cut

    @property
    def regions(self) -> tuple[str, ...]:
        """Names, in the order of the boxes."""
        return ("upper", "lower")

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        """Return boxes (N, 2, 5): centre x, centre y, width, height in pixels, angle; a row of NaN is not found."""
        boxes = np.empty((len(frames), 2, 5), np.float32)
        for row, frame in enumerate(frames):
            height, width = frame.shape[:2]
            cut = self.cut * height
            boxes[row, 0] = (width / 2, cut / 2, width, cut, 0)
            boxes[row, 1] = (width / 2, (cut + height) / 2, width, height - cut, 0)
        return Located(boxes, score=np.ones((len(frames), 2), np.float32))
