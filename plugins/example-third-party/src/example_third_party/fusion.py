"""A fusion: the embeddings of a frame's views to one."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fusionkit.contracts import StackedFusion, require_number


class ExampleGate(StackedFusion):
    """Views weighted by gates that they open themselves; an absent view weighs nothing.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: project every view to this width; None projects, to the largest width, only where widths differ.
        temperature: of the softmax over views, above 0: the lower it is, the more a single view decides.

    Reference: Ilse et al. 2018, "Attention-based deep multiple instance learning", equation 8 without its hidden layer
    (https://arxiv.org/abs/1802.04712).
    """

    missing: ClassVar[str] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"width": 8, "temperature": 0.5})

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, width: int | None = None, temperature: float = 1.0
    ) -> None:
        super().__init__(in_dims, num_classes, width)
        require_number("example-gate: temperature", temperature, above=0)
        self.temperature = temperature
        self.gate = nn.Linear(self.width, 1)
        self.symmetric = self.project is None

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """(B, V, D) to (B, D)."""
        scores = self.gate(views).squeeze(-1) / self.temperature
        weights = torch.softmax(scores.masked_fill(~present, torch.finfo(scores.dtype).min), dim=1) * present
        return (weights.unsqueeze(-1) * views).sum(1)
