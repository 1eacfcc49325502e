"""MS-CAM on its own: the mean of the views, each channel weighed."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fusionkit_fusions.channel_attention import ChannelAttentionFusion
from fusionkit_fusions.presence import masked_mean, readable


class MsCam(ChannelAttentionFusion):
    """The mean of the views, each channel weighed by MS-CAM.

    Only views that are present count; a frame without any view gives its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every view is projected.
        ratio: how many times narrower the bottleneck of the attention is.

    Reference: Dai et al. 2021, "Attentional Feature Fusion", section 3.1 (https://arxiv.org/abs/2009.14082).
    """

    name: ClassVar[str] = "ms-cam"

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Weigh the channels of the mean: (B, V, D) to (B, D)."""
        mean = masked_mean(views, readable(present))
        assert self.attention is not None
        weighed: Tensor = mean * self.attention(mean)
        return weighed
