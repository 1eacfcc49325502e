"""Attentional feature fusion: for each channel a soft choice between two inputs."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fusionkit_fusions.channel_attention import ChannelAttentionFusion, main_and_auxiliary, soft_choice


class Aff(ChannelAttentionFusion):
    """Attentional feature fusion: for each channel a soft choice between the main view and the auxiliary ones.

    With x the main view and y the mean of the auxiliary views that are present, ``w = MS-CAM(x + y)`` and the result is
    ``w * x + (1 - w) * y``. A frame without auxiliary views takes the main view for y; a single view is given on. An
    absent main view stands in as its training mean. The published operator has two inputs; the mean over several
    auxiliary views is our reading.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every view is projected.
        ratio: how many times narrower the bottleneck of the attention is.

    Reference: Dai et al. 2021, "Attentional Feature Fusion", equation 4 (https://arxiv.org/abs/2009.14082).
    """

    name: ClassVar[str] = "aff"
    pairs: ClassVar[bool] = True

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Choose softly: (B, V, D) to (B, D)."""
        if self.attention is None:
            return views[:, 0]
        main, auxiliary = main_and_auxiliary(views, present)
        return soft_choice(self.attention(main + auxiliary), main, auxiliary)
