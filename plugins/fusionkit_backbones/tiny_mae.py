"""A small learned backbone that is part of the package: a masked autoencoder pre-trained on drawn faces."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from fusionkit_backbones.timm_model import Precision, TimmModel

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("tiny_mae.safetensors")


class TinyMae(TimmModel):
    """A vision transformer of 0.8 M weights (64 px, patches of 8 px, width 128, 4 layers), pre-trained on drawn faces.

    It was made by ``fusionkit pretrain pretrain/embedded`` without labels, on subjects that no benchmark data set
    draws. Its patch tokens are averaged in ``grid`` x ``grid`` fields of the view, which are concatenated, so that the
    embedding keeps positions.

    Args:
        grid: fields along a side. Tokens and maps do not depend on it.
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
        pooled: np.ndarray = field_means(self.tokens(views), self.grid)
        return pooled

    def as_network(self, *, tokens: bool) -> nn.Module:
        """Build the encoder again in float32, with the means over fields unless tokens are wanted."""
        from fusionkit_backbones.networks import Normalised

        if tokens:
            return super().as_network(tokens=True)
        return Normalised(
            self._build(),
            self.mean,
            self.std,
            lambda model, pixels: cast("Tensor", field_means(self._read_tokens(model, pixels), self.grid)),
        )

    @property
    def token_dim(self) -> int:
        """Width of a token."""
        return self._dim

    def trainable(self, drop_path: float, seed: int) -> nn.Module:
        """Build the model again, to be trained, with fields instead of its own pooling and last norm."""
        model: Any = super().trainable(drop_path, seed)
        model.fc_norm.requires_grad_(requires_grad=False)  # kept, since the file has its weights
        model.forward_head = partial(pooled_in_fields, grid=self.grid, first=model.num_prefix_tokens)
        return cast("nn.Module", model)

    @classmethod
    def loading(cls, file: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the file as ``weights``, with the same fields."""
        return {**{name: options[name] for name in ("grid",) if name in options}, "weights": file}


def pooled_in_fields(features: Tensor, pre_logits: bool = False, *, grid: int, first: int) -> Tensor:  # noqa: ARG001
    """Replace ``forward_head`` of a timm transformer: (B, first + K, D) to (B, grid * grid * D)."""
    pooled: Tensor = field_means(features[:, first:], grid)
    return pooled


def field_means(tokens: Any, grid: int) -> Any:
    """Average tokens in ``grid`` x ``grid`` fields: an array or tensor, (B, K, D) to (B, grid * grid * D)."""
    side = round(tokens.shape[1] ** 0.5)
    fields = tokens.reshape(tokens.shape[0], grid, side // grid, grid, side // grid, -1)
    return fields.mean((2, 4)).reshape(tokens.shape[0], -1)
