"""A small learned backbone that travels with the package: a masked autoencoder pre-trained on drawn faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fusionkit.errors import ConfigError, PluginError
from fusionkit_backbones.timm_model import TimmModel

WEIGHTS = Path(__file__).with_name("tiny_mae.safetensors")


class TinyMae(TimmModel):
    """A vision transformer of 0.8 M weights (64 px, patches of 8 px, width 128, 4 layers), pre-trained on drawn faces.

    It was made by ``fusionkit pretrain pretrain/embedded`` without any label, on people that no benchmark data set
    draws. Its patch tokens are averaged in ``grid`` x ``grid`` fields of the view, which stand side by side: where
    something is decides as much as what it is.

    Args:
        grid: fields along a side; 1, 2, 4 or 8. Tokens, for fusions that take them, come with 1.
        precision: ``auto``, ``float32`` or ``bfloat16``; ``auto`` takes bfloat16 where the hardware computes in it.
        weights: the file of the encoder.

    Raises:
        ConfigError: if an option cannot be used.

    Reference: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners" (https://arxiv.org/abs/2111.06377), at
    a size for processors.
    """

    files: ClassVar[tuple[str, ...]] = ("weights",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"grid": 2, "precision": "float32"},
        {"grid": 1, "precision": "float32"},
    )

    def __init__(self, grid: int = 4, precision: str = "auto", weights: str = str(WEIGHTS)) -> None:
        if isinstance(grid, bool) or grid not in (1, 2, 4, 8):
            raise ConfigError(f"tiny-mae: grid={grid!r} is not one of 1, 2, 4, 8")
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
        """The patch tokens, (B, 64, 128) float32, row by row of the view; only ``grid=1`` has an embedding as wide.

        Raises:
            PluginError: with any other grid.
        """
        if self.grid > 1:
            raise PluginError(f"tiny-mae:grid={self.grid} gives no tokens", hint="tiny-mae:grid=1 does")
        return super().tokens(views)
