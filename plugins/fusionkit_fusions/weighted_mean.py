"""A mean with one learned weight per view."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusionkit.contracts import StackedFusion
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.masked_fusion import readable


class WeightedMean(StackedFusion):
    """The mean of the views with learned weights, a softmax of one number per view, and a linear head.

    All views start with equal weights. The weights of the views that are present sum to one; a frame without any view
    uses its main view's training mean.

    Reference: Baltrusaitis et al. 2019, "Multimodal Machine Learning: A Survey and Taxonomy", joint representations
    (https://arxiv.org/abs/1705.09406); the softmax of learned scalars is our reading of a learned weighted mean.
    """

    missing = "masked"
    examples = ({}, {"width": 8})

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: Count | None = None) -> None:
        super().__init__(in_dims, num_classes, width)
        # A single view has all the weight: nothing to learn.
        self.scores = nn.Parameter(torch.zeros(len(in_dims))) if len(in_dims) > 1 else None

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Average with the learned weights: (B, V, D) to (B, D)."""
        if self.scores is None:
            return views[:, 0]
        weights = self.scores.masked_fill(~readable(present), -torch.inf).softmax(1)
        return torch.einsum("bv,bvd->bd", weights, views)
