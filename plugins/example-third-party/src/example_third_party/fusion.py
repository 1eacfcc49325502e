"""A fusion: combines the embeddings of a frame's views into one."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fusionkit.contracts import Count, Positive, StackedFusion


class ExampleGate(StackedFusion):
    """Weighted sum of views, with weights from a softmax over gates; an absent view has weight 0.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: width to which every view is projected. Default: no projection, or the largest width if widths differ.
        temperature: of the softmax over views; at a low value one view has almost all of the weight.

    Reference: Ilse et al. 2018, "Attention-based deep multiple instance learning", equation 8 without its hidden layer
    (https://arxiv.org/abs/1802.04712).
    """

    missing = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"width": 8, "temperature": 0.5})

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, width: Count | None = None, temperature: Positive = 1.0
    ) -> None:
        super().__init__(in_dims, num_classes, width)
        self.temperature = temperature
        self.gate = nn.Linear(self.width, 1)
        self.symmetric = self.project is None

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Convert (B, V, D) to (B, D)."""
        scores = self.gate(views).squeeze(-1) / self.temperature
        weights = torch.softmax(scores.masked_fill(~present, torch.finfo(scores.dtype).min), dim=1) * present
        return (weights.unsqueeze(-1) * views).sum(1)
