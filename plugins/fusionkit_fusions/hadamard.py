"""Multimodal low-rank bilinear pooling: hidden features of the views, multiplied channel by channel."""

from __future__ import annotations

import torch
from torch import Tensor

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.masked_fusion import MaskedFusion


class Hadamard(MaskedFusion):
    """The product over views of ``tanh(W_v x_v + b_v)``, with a linear head: a bilinear form of rank ``width``.

    An absent view is a factor of one; a frame without any view uses its main view's training mean.

    Args:
        width: D, the rank.

    Reference: Kim et al. 2017, "Hadamard Product for Low-rank Bilinear Pooling", equation 8
    (https://arxiv.org/abs/1610.04325).
    """

    examples = ({"width": 8},)

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: Count = 256) -> None:
        super().__init__(in_dims, num_classes)
        self.hidden = self.linear_per_view(width)

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Multiply: (B, width)."""
        hidden = torch.stack([torch.tanh(h) for h in self.each(self.hidden, views)], 1)
        return hidden.masked_fill(~self.readable(present)[..., None], 1.0).prod(1)
