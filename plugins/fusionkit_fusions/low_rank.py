"""Low-rank multimodal fusion: the outer product of all views, never formed."""

from __future__ import annotations

from functools import reduce
from operator import mul

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.masked_fusion import MaskedFusion


class LowRank(MaskedFusion):
    """A linear map of the outer product of all ``[x_v; 1]``, its weight a sum of ``rank`` outer products.

    ``out = bias + sum over r of  w_r * product over v of  [x_v; 1] F_v,r``. The ones keep every product of fewer views
    in it. An absent view is zero, so that only its one takes part; a frame without any view uses its main view's
    training mean. Every factor is a registered parameter.

    Args:
        rank: number of outer products that make up the weight.
        width: of the fused embedding.

    Reference: Liu et al. 2018, "Efficient Low-rank Multimodal Fusion with Modality-Specific Factors", equation 7
    (https://arxiv.org/abs/1806.00064).
    """

    examples = ({"rank": 2, "width": 8},)

    def __init__(self, in_dims: dict[str, int], num_classes: int, rank: Count = 4, width: Count = 64) -> None:
        super().__init__(in_dims, num_classes)
        self.rank, self.width = rank, width
        self.factors = nn.ParameterList([_factor(dim, rank * width) for dim in in_dims.values()])
        self.weights = nn.Parameter(torch.full((rank,), 1.0 / rank))
        self.bias = nn.Parameter(torch.zeros(width))

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Multiply in the low-rank form: (B, width)."""
        zeroed = self.zeroed(views, self.readable(present))
        product = reduce(mul, [x @ factor[:-1] + factor[-1] for x, factor in zip(zeroed, self.factors, strict=True)])
        return torch.einsum("r,brd->bd", self.weights, product.view(-1, self.rank, self.width)) + self.bias


def _factor(dim: int, columns: int) -> nn.Parameter:
    """(dim + 1, columns); the row of the one starts at one, so that a product of many views keeps its scale."""
    factor = torch.empty(dim + 1, columns)
    nn.init.xavier_normal_(factor[:-1])
    nn.init.ones_(factor[-1])
    return nn.Parameter(factor)
