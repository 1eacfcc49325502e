"""A mean whose weights are learned: one number a view says how much it counts."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import StackedFusion
from fusionkit_fusions.presence import readable


class WeightedMean(StackedFusion):
    """The mean of the views with learned weights, a softmax of one number a view, and a linear head.

    At the start every view weighs the same. The weights of the views that are present add up to one; a frame without
    any view gives its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: project every view to this width; where it is not given, views are projected, to the widest, only if
            their widths differ.

    Reference: Baltrusaitis et al. 2019, "Multimodal Machine Learning: A Survey and Taxonomy", joint representations
    (https://arxiv.org/abs/1705.09406); the softmax of learned scalars is our reading of a learned weighted mean.
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"width": 8})

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: int | None = None) -> None:
        super().__init__(in_dims, num_classes, width)
        # A single view has all the weight: nothing to learn.
        self.scores = nn.Parameter(torch.zeros(len(in_dims))) if len(in_dims) > 1 else None

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Average with the learned weights: (B, V, D) to (B, D)."""
        if self.scores is None:
            return views[:, 0]
        weights = self.scores.masked_fill(~readable(present), -torch.inf).softmax(1)
        return torch.einsum("bv,bvd->bd", weights, views)
