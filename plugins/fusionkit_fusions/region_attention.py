"""Region attention network: each view is weighed by itself, then against what all of them say."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import FusionOutput, StackedFusion, require_number
from fusionkit_fusions.presence import readable


class RegionAttention(StackedFusion):
    """Self-attention and relation-attention of the region attention network.

    With F_v the views::

        a_v = sigmoid(q0 . F_v + c0)                    F_m = sum of a_v F_v / sum of a_v
        b_v = sigmoid(q1 . [F_v; F_m] + c1)             P   = sum of a_v b_v [F_v; F_m] / sum of a_v b_v

    Only views that are present count; a frame without any view gives its imputed main view. With ``region_bias`` the
    loss grows by ``max(0, margin - (max over auxiliary views of a_v - a_main))``: some region is to weigh more than the
    whole face.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: project every view to this width; where it is not given, views are projected, to the widest, only if
            their widths differ.
        region_bias: weight of the region-biased loss; 0 leaves it out.
        margin: by how much a region is to outweigh the main view, 0..1.

    Reference: Wang et al. 2020, "Region Attention Networks for Pose and Occlusion Robust Facial Expression
    Recognition", equations 2-6 (https://arxiv.org/abs/1905.04075).
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"width": 8, "region_bias": 1.0})

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: int | None = None,
        region_bias: float = 0.0,
        margin: float = 0.02,
    ) -> None:
        require_number("region-attention: region_bias", region_bias, least=0)
        require_number("region-attention: margin", margin, least=0, most=1)
        super().__init__(in_dims, num_classes, width)
        self.region_bias, self.margin = region_bias, margin
        # A single view has nothing to be weighed against.
        self.self_attention = nn.Linear(self.width, 1) if self.auxiliary else None
        self.relation_attention = nn.Linear(2 * self.width, 1) if self.auxiliary else None
        self._weights: Tensor | None = None

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Weigh twice: (B, V, D) to (B, 2 D)."""
        if self.self_attention is None or self.relation_attention is None:
            return torch.cat([views[:, 0], views[:, 0]], 1)
        there = readable(present)[..., None]
        alone = self.self_attention(views).sigmoid().masked_fill(~there, 0.0)
        self._weights = alone.squeeze(2) if self.training else None
        mean = (alone * views).sum(1, keepdim=True) / alone.sum(1, keepdim=True)
        pairs = torch.cat([views, mean.expand_as(views)], 2)
        both = alone * self.relation_attention(pairs).sigmoid()
        joint: Tensor = (both * pairs).sum(1) / both.sum(1)
        return joint

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """The base's loss, and the region-biased one where it is asked for."""
        loss = super().loss(output, target)
        if self.region_bias and self._weights is not None:
            lead = self._weights[:, 1:].amax(1) - self._weights[:, 0]
            loss = loss + self.region_bias * (self.margin - lead).clamp(min=0).mean()
        return loss
