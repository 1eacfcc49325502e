"""Multi-scale channel attention (MS-CAM), and what the fusions that are built on it share: MS-CAM itself, AFF, iAFF."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import StackedFusion, require_count
from fusionkit_fusions.presence import masked_mean, with_main


class ChannelAttention(nn.Module):
    """Weights in 0..1 for each channel, from a local and a global bottleneck, as MS-CAM computes them.

    On a feature map the local branch works on every place and the global one on the mean over places. A pooled
    embedding has one place, so the branches differ in their weights alone.

    Args:
        width: D.
        ratio: how many times narrower the bottleneck is.
    """

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.local_branch = _bottleneck(width, ratio)
        self.global_branch = _bottleneck(width, ratio)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to weights (B, D)."""
        return torch.sigmoid(self.local_branch(features) + self.global_branch(features))


def _bottleneck(width: int, ratio: int) -> nn.Sequential:
    narrow = max(width // ratio, 1)
    return nn.Sequential(
        nn.Linear(width, narrow), nn.BatchNorm1d(narrow), nn.ReLU(), nn.Linear(narrow, width), nn.BatchNorm1d(width)
    )


class ChannelAttentionFusion(StackedFusion):
    """What the three fusions share: projected views, their options, and the attention.

    Attributes:
        name: of the fusion, as errors give it.
        pairs: the attention chooses between main and auxiliary views, so that a single view has none.
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "ratio": 2},)
    name: ClassVar[str]
    pairs: ClassVar[bool] = False

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: int = 256, ratio: int = 4) -> None:
        require_count(f"{self.name}: width", width)
        require_count(f"{self.name}: ratio", ratio)
        super().__init__(in_dims, num_classes, width)
        chooses = bool(self.auxiliary) or not self.pairs
        self.attention = ChannelAttention(width, ratio) if chooses else None


def main_and_auxiliary(views: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Main view (B, D), and the mean of the auxiliary views that are present; the main view where there is none."""
    main = views[:, 0]
    guided = with_main(present)[:, 1:]
    return main, torch.where(guided.any(1, keepdim=True), masked_mean(views[:, 1:], guided), main)


def soft_choice(weights: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``weights`` of the one and the rest of the other."""
    return weights * one + (1 - weights) * other
