"""Random features: a control for learned backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import cv2
import numpy as np

from fusionkit.contracts import Backbone
from fusionkit.contracts.option_types import Count, Natural, Range

if TYPE_CHECKING:
    from torch import nn


class RandomFeatures(Backbone):
    """A fixed random projection of the grey pixels, rectified: ``max(0, W x)``.

    ``x`` is the view's grey values minus their mean, scaled to length 1; the rows of ``W`` are drawn from a normal
    distribution and never trained. A head on these features learns from the pixels alone.

    Args:
        dim: D, number of features.
        size: height and width in pixels to which a view is resized.
        seed: of ``W``.

    Reference: Rahimi and Recht 2008, "Weighted Sums of Random Kitchen Sinks: Replacing minimization with randomization
    in learning" (NIPS), with rectified units.
    """

    random_weights = True
    examples = ({}, {"dim": 16, "size": 8, "seed": 1})

    def __init__(self, dim: Count = 512, size: Annotated[int, Range(least=2)] = 32, seed: Natural = 0) -> None:
        self._dim, self.size = dim, size
        self._projection = np.random.default_rng(seed).standard_normal((size * size, dim)).astype(np.float32)

    @property
    def dim(self) -> int:
        """D."""
        return self._dim

    @property
    def input_size(self) -> tuple[int, int]:
        """(size, size)."""
        return self.size, self.size

    def embed(self, views: np.ndarray) -> np.ndarray:
        """Project a batch: (B, size, size, 3) uint8 RGB to (B, D) float32, at least 0."""
        grey = np.stack([cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) for view in views]).astype(np.float32)
        pixels = grey.reshape(len(views), -1)
        pixels -= pixels.mean(1, keepdims=True)
        pixels /= np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-6)
        # Row by row: a matrix product of a batch may sum in another order than that of a row.
        projected: np.ndarray = np.maximum(np.stack([row @ self._projection for row in pixels]), 0)
        return projected

    def as_network(self, *, tokens: bool) -> nn.Module:
        """Return the projection as a network; there are no tokens."""
        from fusionkit_backbones.networks import ProjectionNetwork

        return ProjectionNetwork(self._projection)

    def cost(self) -> tuple[int, float]:
        """Return (parameters, GFLOP of one view)."""
        return self._projection.size, 2 * self._projection.size / 1e9
