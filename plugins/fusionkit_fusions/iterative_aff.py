"""Iterative attentional feature fusion: the choice of AFF, made on what a first AFF chose."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fusionkit_fusions.channel_attention import (
    ChannelAttention,
    ChannelAttentionFusion,
    main_and_auxiliary,
    soft_choice,
)


class IterativeAff(ChannelAttentionFusion):
    """Iterative attentional feature fusion: as AFF, and what the attention looks at is itself chosen by a first AFF.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every view is projected.
        ratio: how many times narrower the bottleneck of either attention is.

    Reference: Dai et al. 2021, "Attentional Feature Fusion", equation 5 (https://arxiv.org/abs/2009.14082). Both
    attentions have a local and a global branch of their own.
    """

    name: ClassVar[str] = "iaff"
    pairs: ClassVar[bool] = True

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: int = 256, ratio: int = 4) -> None:
        super().__init__(in_dims, num_classes, width, ratio)
        self.first = ChannelAttention(width, ratio) if self.auxiliary else None

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Choose softly, twice: (B, V, D) to (B, D)."""
        if self.attention is None or self.first is None:
            return views[:, 0]
        main, auxiliary = main_and_auxiliary(views, present)
        initial = soft_choice(self.first(main + auxiliary), main, auxiliary)
        return soft_choice(self.attention(initial), main, auxiliary)
