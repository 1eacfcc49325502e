"""A small learned backbone that is part of the package: a masked autoencoder pre-trained on drawn faces."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from fusionkit.errors import PluginError
from fusionkit_backbones.timm_model import Precision, TimmModel

WEIGHTS = Path(__file__).with_name("tiny_mae.safetensors")


class TinyMae(TimmModel):
    """A vision transformer of 0.8 M weights (64 px, patches of 8 px, width 128, 4 layers), pre-trained on drawn faces.

    It was made by ``fusionkit pretrain pretrain/embedded`` without labels, on subjects that no benchmark data set
    draws. Its patch tokens are averaged in ``grid`` x ``grid`` fields of the view, which are concatenated, so that the
    embedding keeps positions.

    Args:
        grid: fields along a side. Fusions of tokens need 1.
        weights: the file of the encoder.

    Reference: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners" (https://arxiv.org/abs/2111.06377), at
    a size for CPUs.
    """

    files = ("weights",)
    examples = ({"grid": 2, "precision": "float32"}, {"grid": 1, "precision": "float32"})

    def __init__(
        self, grid: Literal[1, 2, 4, 8] = 4, precision: Precision = "auto", weights: str = str(WEIGHTS)
    ) -> None:
        super().__init__(checkpoint=weights, pool="avg", precision=precision)
        self.grid = grid

    @property
    def dim(self) -> int:
        """D: fields times the width of a token."""
        return self.grid**2 * self._dim

    def embed(self, views: np.ndarray) -> np.ndarray:
        """Embed a batch: (B, 64, 64, 3) uint8 RGB to (B, D) float32, field rows, field columns, channels."""
        tokens = super().tokens(views)
        side = round(tokens.shape[1] ** 0.5)
        fields = tokens.reshape(len(views), self.grid, side // self.grid, self.grid, side // self.grid, -1)
        pooled: np.ndarray = fields.mean((2, 4)).reshape(len(views), -1)
        return pooled

    def tokens(self, views: np.ndarray) -> np.ndarray:
        """Return the patch tokens, (B, 64, 128) float32, row by row; only with ``grid=1`` is the embedding as wide.

        Raises:
            PluginError: with any other grid.
        """
        if self.grid > 1:
            raise PluginError(f"tiny-mae:grid={self.grid} gives no tokens", hint="tiny-mae:grid=1 does")
        return super().tokens(views)
