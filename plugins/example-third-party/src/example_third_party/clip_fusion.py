"""A fusion over time: combines the views of neighbouring frames of a clip, with one result per frame."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.contracts import ClipFusion, Count


class ExampleMemory(ClipFusion):
    """The views of a frame, beside their mean over the frames so far, in which older frames weigh less.

    The weight halves with every ``half_life`` frames, which is learned. An absent view is zero.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        window: largest number of frames that are averaged.
        half_life: in frames, before training.

    Reference: Brown 1963, "Smoothing, Forecasting and Prediction of Discrete Time Series", exponential smoothing.
    """

    missing = "masked"
    causal = True
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"window": 4, "half_life": 1})

    def __init__(self, in_dims: dict[str, int], num_classes: int, window: Count = 32, half_life: Count = 8) -> None:
        super().__init__(in_dims, num_classes)
        self.window = window
        self.half_life = nn.Parameter(torch.tensor(float(half_life)))

    def fuse_clip(self, views: dict[str, Tensor], present: dict[str, Tensor], number: Tensor, mask: Tensor) -> Tensor:
        """Convert (B, T, D_v) of each view to (B, T, D), twice the sum of D_v."""
        frame = torch.cat([views[name] * present[name].unsqueeze(-1) for name in self.in_dims], dim=2)
        age = number[:, :, None] - number[:, None, :]  # of the frames of the last axis, as seen from each frame
        weights = 0.5 ** (age.clamp(min=0) / functional.softplus(self.half_life)) * (mask[:, None, :] & (age >= 0))
        mean = weights @ frame / weights.sum(2, keepdim=True).clamp(min=1e-9)
        return torch.cat([frame, mean], dim=2)
