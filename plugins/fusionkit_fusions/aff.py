"""Attentional feature fusion: multi-scale channel attention (MS-CAM), and the fusions AFF and iAFF built on it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit.contracts import StackedFusion
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.masked_fusion import masked_mean, readable, with_main


class ChannelAttention(nn.Module):
    """Weights in 0..1 for each channel, from a local and a global bottleneck, as MS-CAM computes them.

    On a feature map the local branch works at every position and the global one on the mean over positions. A pooled
    embedding has one position, so the branches differ in their weights alone.

    Args:
        width: D.
        ratio: D over the width of the bottleneck.
    """

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.local_branch = _bottleneck(width, ratio)
        self.global_branch = _bottleneck(width, ratio)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to weights (B, D)."""
        return torch.sigmoid(self.local_branch(features) + self.global_branch(features))


class ChannelAttentionFusion(StackedFusion):
    """Base of the three fusions: projected views and the attention.

    Args:
        width: D, to which every view is projected.
        ratio: D over the width of the bottleneck in each attention.

    Attributes:
        pairs: the attention chooses between main and auxiliary views, so that a single view has none.
    """

    missing = "masked"
    examples = ({"width": 8, "ratio": 2},)
    pairs: ClassVar[bool] = True

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: Count = 256, ratio: Count = 4) -> None:
        super().__init__(in_dims, num_classes, width)
        chooses = bool(self.auxiliary) or not self.pairs
        self.attention = ChannelAttention(width, ratio) if chooses else None


class MsCam(ChannelAttentionFusion):
    """The mean of the views, each channel weighted by MS-CAM.

    Only views that are present count; a frame without any view uses its main view's training mean.

    Reference: Dai et al. 2021, "Attentional Feature Fusion", section 3.1 (https://arxiv.org/abs/2009.14082).
    """

    pairs = False

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Weight the channels of the mean: (B, V, D) to (B, D)."""
        mean = masked_mean(views, readable(present))
        assert self.attention is not None
        weighted: Tensor = mean * self.attention(mean)
        return weighted


class Aff(ChannelAttentionFusion):
    """Attentional feature fusion: for each channel a soft choice between the main view and the auxiliary ones.

    With x the main view and y the mean of the auxiliary views that are present, ``w = MS-CAM(x + y)`` and the result is
    ``w * x + (1 - w) * y``. In a frame without auxiliary views y is the main view; a single view is returned unchanged.
    An absent main view is replaced by its training mean. The published operator has two inputs; the mean over several
    auxiliary views is our reading.

    Reference: Dai et al. 2021, "Attentional Feature Fusion", equation 4 (https://arxiv.org/abs/2009.14082).
    """

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Choose softly: (B, V, D) to (B, D)."""
        if self.attention is None:
            return views[:, 0]
        main, auxiliary = main_and_auxiliary(views, present)
        return soft_choice(self.attention(main + auxiliary), main, auxiliary)


class IterativeAff(ChannelAttentionFusion):
    """Iterative attentional feature fusion: as AFF, with the input of the attention itself chosen by a first AFF.

    Reference: Dai et al. 2021, "Attentional Feature Fusion", equation 5 (https://arxiv.org/abs/2009.14082). Both
    attentions have a local and a global branch of their own.
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: Count = 256, ratio: Count = 4) -> None:
        super().__init__(in_dims, num_classes, width, ratio)
        self.first = ChannelAttention(width, ratio) if self.auxiliary else None

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Choose softly, twice: (B, V, D) to (B, D)."""
        if self.attention is None or self.first is None:
            return views[:, 0]
        main, auxiliary = main_and_auxiliary(views, present)
        initial = soft_choice(self.first(main + auxiliary), main, auxiliary)
        return soft_choice(self.attention(initial), main, auxiliary)


def main_and_auxiliary(views: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return the main view (B, D), and the mean of the present auxiliary views; the main view where there is none."""
    main = views[:, 0]
    auxiliary = with_main(present)[:, 1:]
    return main, torch.where(auxiliary.any(1, keepdim=True), masked_mean(views[:, 1:], auxiliary), main)


def soft_choice(weights: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return ``weights`` of the one plus the rest of the other."""
    return weights * one + (1 - weights) * other


def _bottleneck(width: int, ratio: int) -> nn.Sequential:
    narrow = max(width // ratio, 1)
    return nn.Sequential(
        nn.Linear(width, narrow), nn.BatchNorm1d(narrow), nn.ReLU(), nn.Linear(narrow, width), nn.BatchNorm1d(width)
    )
