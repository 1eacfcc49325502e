"""MUTAN: a Tucker decomposition of the bilinear product, its core a sum of low-rank slices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.masked_fusion import MaskedFusion


class Mutan(MaskedFusion):
    """Views are projected to small hidden features, and a core tensor of low rank multiplies them.

    With ``h_v = tanh(W_v x_v + b_v)`` the result is ``sum over r of  product over v of  (M_v,r h_v + c_v,r)``: each of
    the ``rank`` terms is a full interaction of the views. An absent view is a factor of one; a frame without any view
    uses its main view's training mean. The published operator has two inputs; the product over more is our reading.

    Args:
        width: of the hidden features.
        out_width: of the fused embedding.
        rank: number of products that are summed.

    Reference: Ben-younes et al. 2017, "MUTAN: Multimodal Tucker Fusion for Visual Question Answering", equations 7-9
    (https://arxiv.org/abs/1705.06676).
    """

    examples = ({"width": 6, "out_width": 8, "rank": 2},)

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, width: Count = 128, out_width: Count = 128, rank: Count = 5
    ) -> None:
        super().__init__(in_dims, num_classes)
        self.rank, self.out_width = rank, out_width
        self.hidden = self.linear_per_view(width)
        self.slices = nn.ModuleList([nn.Linear(width, rank * out_width) for _ in in_dims])

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Multiply and sum: (B, out_width)."""
        hidden = self.each(self.hidden, views)
        mapped = torch.stack([layer(torch.tanh(h)) for layer, h in zip(self.slices, hidden, strict=True)], 1)
        products = mapped.masked_fill(~self.readable(present)[..., None], 1.0).prod(1)
        return products.view(-1, self.rank, self.out_width).sum(1)
