"""A backbone: a view of a face to an embedding."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import Backbone, require_count


class ExampleMoments(Backbone):
    """Mean and spread of each colour in each field of a grid: D = 6 * grid * grid.

    Args:
        grid: fields a side, 1 or more.

    Reference: Stricker and Orengo 1995, "Similarity of color images", the first two colour moments
    (https://doi.org/10.1117/12.205308), here of fields and not of the whole picture.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"grid": 3})

    def __init__(self, grid: int = 4) -> None:
        require_count("example-moments: grid", grid)
        self.grid = grid

    @property
    def dim(self) -> int:
        """D."""
        return 6 * self.grid**2

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width): eight pixels a field; the kernel resizes views to it."""
        return (8 * self.grid, 8 * self.grid)

    def embed(self, views: np.ndarray) -> np.ndarray:
        """(B, H, W, 3) uint8 to (B, D) float32."""
        shape = (len(views), self.grid, 8, self.grid, 8, 3)
        fields = views.reshape(shape).astype(np.float32) / 255
        moments = np.stack([fields.mean((2, 4)), fields.std((2, 4))], axis=-1)
        return moments.reshape(len(views), self.dim)
