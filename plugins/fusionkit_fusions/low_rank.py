"""Low-rank multimodal fusion: the outer product of all views, never written out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, require_count
from fusionkit_fusions.presence import readable


class LowRank(Fusion):
    """A linear map of the outer product of all ``[x_v; 1]``, its weight a sum of ``rank`` outer products.

    ``out = bias + sum over r of  w_r * product over v of  [x_v; 1] F_v,r``. The ones keep every product of fewer views
    in it. An absent view is zero, so that its one alone takes part; a frame without any view gives its imputed main
    view. Every factor is a registered parameter.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        rank: how many outer products make up the weight.
        width: of the fused embedding.

    Reference: Liu et al. 2018, "Efficient Low-rank Multimodal Fusion with Modality-Specific Factors", equation 7
    (https://arxiv.org/abs/1806.00064).
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"rank": 2, "width": 8},)

    def __init__(self, in_dims: dict[str, int], num_classes: int, rank: int = 4, width: int = 64) -> None:
        super().__init__(in_dims, num_classes)
        require_count("low-rank: rank", rank)
        require_count("low-rank: width", width)
        self.rank, self.width = rank, width
        self.factors = nn.ParameterList([_factor(dim, rank * width) for dim in in_dims.values()])
        self.weights = nn.Parameter(torch.full((rank,), 1.0 / rank))
        self.bias = nn.Parameter(torch.zeros(width))

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Multiply in the low-rank form: (B, width)."""
        there = readable(torch.stack([present[name] for name in self.in_dims], 1))
        product: Tensor | None = None
        for place, (name, factor) in enumerate(zip(self.in_dims, self.factors, strict=True)):
            x = views[name].masked_fill(~there[:, place, None], 0.0)
            mapped = x @ factor[:-1] + factor[-1]
            product = mapped if product is None else product * mapped
        assert product is not None
        return torch.einsum("r,brd->bd", self.weights, product.view(-1, self.rank, self.width)) + self.bias


def _factor(dim: int, columns: int) -> nn.Parameter:
    """(dim + 1, columns); the row of the one starts at one, so that a product of many views neither fades nor grows."""
    factor = torch.empty(dim + 1, columns)
    nn.init.xavier_normal_(factor[:-1])
    nn.init.ones_(factor[-1])
    return nn.Parameter(factor)
