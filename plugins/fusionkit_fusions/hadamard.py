"""Multimodal low-rank bilinear pooling: hidden features of the views, multiplied channel by channel."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, require_count
from fusionkit_fusions.presence import readable


class Hadamard(Fusion):
    """The product over views of ``tanh(W_v x_v + b_v)``, with a linear head: a bilinear form of rank ``width``.

    An absent view is a factor of one; a frame without any view gives its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, the rank.

    Reference: Kim et al. 2017, "Hadamard Product for Low-rank Bilinear Pooling", equation 8
    (https://arxiv.org/abs/1610.04325).
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8},)

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: int = 256) -> None:
        super().__init__(in_dims, num_classes)
        require_count("hadamard: width", width)
        self.hidden = nn.ModuleList([nn.Linear(dim, width) for dim in in_dims.values()])

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Multiply: (B, width)."""
        there = readable(torch.stack([present[name] for name in self.in_dims], 1))
        hidden = torch.stack(
            [torch.tanh(layer(views[name])) for name, layer in zip(self.in_dims, self.hidden, strict=True)], 1
        )
        return hidden.masked_fill(~there[..., None], 1.0).prod(1)
