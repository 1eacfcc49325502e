"""A backbone: converts a view of a face to an embedding."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fusionkit.contracts import Backbone, Count


class ExampleMoments(Backbone):
    """Mean and standard deviation of each colour channel in each cell of a grid: D = 6 * grid * grid.

    Args:
        grid: cells per side.

    Reference: Stricker and Orengo 1995, "Similarity of color images", the first two colour moments
    (https://doi.org/10.1117/12.205308), here of grid cells instead of the whole image.
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"grid": 3})

    def __init__(self, grid: Count = 4) -> None:
        self.grid = grid

    @property
    def dim(self) -> int:
        """Width D of an embedding."""
        return 6 * self.grid**2

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width, eight pixels per cell; the kernel resizes views to it."""
        return (8 * self.grid, 8 * self.grid)

    def embed(self, views: np.ndarray) -> np.ndarray:
        """Convert (B, H, W, 3) uint8 to (B, D) float32."""
        shape = (len(views), self.grid, 8, self.grid, 8, 3)
        cells = views.reshape(shape).astype(np.float32) / 255
        moments = np.stack([cells.mean((2, 4)), cells.std((2, 4))], axis=-1)
        return moments.reshape(len(views), self.dim)
