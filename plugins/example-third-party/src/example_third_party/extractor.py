"""An extractor: where the regions of a face are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import Extractor, Located
from fusionkit.errors import ConfigError


class ExampleParts(Extractor):
    """The upper and the lower part of every frame: for crops that are aligned already.

    Args:
        cut: where the lower part begins, as a share of the height, above 0 and below 1.

    Reference: none; halves of an aligned crop are the plainest regions there are.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"cut": 0.6})

    def __init__(self, cut: float = 0.5) -> None:
        if not 0 < cut < 1:
            raise ConfigError(f"example-parts: cut={cut} is not above 0 and below 1")
        self.cut = cut

    @property
    def regions(self) -> tuple[str, ...]:
        """Names, in the order of the boxes."""
        return ("upper", "lower")

    def locate(self, frames: Sequence[np.ndarray]) -> Located:
        """Boxes (N, 2, 5): centre x, centre y, width, height in pixels, angle; a row of NaN is not found."""
        boxes = np.empty((len(frames), 2, 5), np.float32)
        for row, frame in enumerate(frames):
            height, width = frame.shape[:2]
            cut = self.cut * height
            boxes[row, 0] = (width / 2, cut / 2, width, cut, 0)
            boxes[row, 1] = (width / 2, (cut + height) / 2, width, height - cut, 0)
        return Located(boxes, score=np.ones((len(frames), 2), np.float32))
