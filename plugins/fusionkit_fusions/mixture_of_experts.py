"""A mixture of experts: one expert per view, and a router that weights them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.masked_fusion import MaskedFusion


class MixtureOfExperts(MaskedFusion):
    """Each view has an expert, a hidden layer of its own; a router on all views weights the experts.

    ``out = sum over v of  g_v * relu(W_v x_v + b_v)``, g the softmax of a linear layer on the concatenated views, over
    the views that are present and, with ``top``, over the highest of them. The router reads absent views as zero; a
    frame without any view uses its main view's training mean.

    Args:
        width: of an expert's hidden layer.
        top: number of experts used for a frame; not given: all.

    Reference: Shazeer et al. 2017, "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer",
    equations 1-5 (https://arxiv.org/abs/1701.06538), without its noise; one expert per view is our reading.
    """

    examples = ({"width": 8}, {"width": 8, "top": 2})

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: Count = 256, top: Count | None = None) -> None:
        super().__init__(in_dims, num_classes)
        self.top = None if top is None or top >= len(in_dims) else top
        self.experts = self.linear_per_view(width)
        # A single expert has all the weight.
        self.router = nn.Linear(sum(in_dims.values()), len(in_dims)) if len(in_dims) > 1 else None

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Return the weighted sum of the experts: (B, width)."""
        experts = torch.stack([torch.relu(h) for h in self.each(self.experts, views)], 1)
        if self.router is None:
            return experts[:, 0]
        visible = self.readable(present)
        scores = self.router(torch.cat(self.zeroed(views, visible), 1)).masked_fill(~visible, -torch.inf)
        if self.top:
            least = scores.topk(self.top, 1).values[:, -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        return torch.einsum("bv,bvd->bd", scores.softmax(1), experts)
