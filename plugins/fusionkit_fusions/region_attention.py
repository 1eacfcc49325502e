"""Region attention network: each view is weighted by itself, then against the mean of all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusionkit.contracts import FusionOutput, StackedFusion
from fusionkit.contracts.option_types import Count, NonNegative, Probability
from fusionkit_fusions.masked_fusion import readable


class RegionAttention(StackedFusion):
    """Self-attention and relation-attention of the region attention network.

    With F_v the views::

        a_v = sigmoid(q0 . F_v + c0)                    F_m = sum of a_v F_v / sum of a_v
        b_v = sigmoid(q1 . [F_v; F_m] + c1)             P   = sum of a_v b_v [F_v; F_m] / sum of a_v b_v

    Only views that are present count; a frame without any view uses its main view's training mean. With ``region_bias``
    the loss grows by ``max(0, margin - (max over auxiliary views of a_v - a_main))``: some region should have a larger
    weight than the whole face.

    Args:
        region_bias: weight of the region-biased loss; 0 leaves it out.
        margin: target for the difference between the largest weight of a region and that of the main view.

    Reference: Wang et al. 2020, "Region Attention Networks for Pose and Occlusion Robust Facial Expression
    Recognition", equations 2-6 (https://arxiv.org/abs/1905.04075).
    """

    missing = "masked"
    examples = ({}, {"width": 8, "region_bias": 1.0})

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: Count | None = None,
        region_bias: NonNegative = 0.0,
        margin: Probability = 0.02,
    ) -> None:
        super().__init__(in_dims, num_classes, width)
        self.region_bias, self.margin = region_bias, margin
        # A single view has all the weight.
        self.self_attention = nn.Linear(self.width, 1) if self.auxiliary else None
        self.relation_attention = nn.Linear(2 * self.width, 1) if self.auxiliary else None
        self._weights: Tensor | None = None

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Weight twice: (B, V, D) to (B, 2 D)."""
        if self.self_attention is None or self.relation_attention is None:
            return torch.cat([views[:, 0], views[:, 0]], 1)
        visible = readable(present)[..., None]
        alone = self.self_attention(views).sigmoid().masked_fill(~visible, 0.0)
        self._weights = alone.squeeze(2) if self.training else None
        mean = (alone * views).sum(1, keepdim=True) / alone.sum(1, keepdim=True)
        pairs = torch.cat([views, mean.expand_as(views)], 2)
        both = alone * self.relation_attention(pairs).sigmoid()
        joint: Tensor = (both * pairs).sum(1) / both.sum(1)
        return joint

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """Return the contract's loss, plus the region-biased one if ``region_bias`` is above 0."""
        loss = super().loss(output, target)
        if self.region_bias and self._weights is not None:
            lead = self._weights[:, 1:].amax(1) - self._weights[:, 0]
            loss = loss + self.region_bias * (self.margin - lead).clamp(min=0).mean()
        return loss
