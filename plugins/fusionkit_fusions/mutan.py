"""MUTAN: a Tucker decomposition of the bilinear product, its core a sum of low-rank slices."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, require_count
from fusionkit_fusions.presence import readable


class Mutan(Fusion):
    """Views are brought to small hidden features, and a core tensor of low rank multiplies them.

    With ``h_v = tanh(W_v x_v + b_v)`` the result is ``sum over r of  product over v of  (M_v,r h_v + c_v,r)``: each of
    the ``rank`` terms is a full interaction of the views. An absent view is a factor of one; a frame without any view
    gives its imputed main view. The published operator has two inputs; the product over more is our reading.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: of the hidden features.
        out_width: of the fused embedding.
        rank: how many products are added.

    Reference: Ben-younes et al. 2017, "MUTAN: Multimodal Tucker Fusion for Visual Question Answering", equations 7-9
    (https://arxiv.org/abs/1705.06676).
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 6, "out_width": 8, "rank": 2},)

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, width: int = 128, out_width: int = 128, rank: int = 5
    ) -> None:
        super().__init__(in_dims, num_classes)
        for option, value in (("width", width), ("out_width", out_width), ("rank", rank)):
            require_count(f"mutan: {option}", value)
        self.rank, self.out_width = rank, out_width
        self.hidden = nn.ModuleList([nn.Linear(dim, width) for dim in in_dims.values()])
        self.slices = nn.ModuleList([nn.Linear(width, rank * out_width) for _ in in_dims])

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Multiply and add: (B, out_width)."""
        there = readable(torch.stack([present[name] for name in self.in_dims], 1))
        mapped = torch.stack(
            [
                part(torch.tanh(layer(views[name])))
                for name, layer, part in zip(self.in_dims, self.hidden, self.slices, strict=True)
            ],
            1,
        )
        products = mapped.masked_fill(~there[..., None], 1.0).prod(1)
        return products.view(-1, self.rank, self.out_width).sum(1)
