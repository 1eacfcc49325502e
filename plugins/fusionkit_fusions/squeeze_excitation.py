"""Squeeze and excitation over views: all views together gate the channels of each view."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusionkit.contracts import StackedFusion
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.masked_fusion import readable


class SqueezeExcitation(StackedFusion):
    """Channel gates for each view, from a joint squeeze of all views; the gated views are concatenated.

    With h the concatenated projected views::

        s   = relu(W h + b)                     a bottleneck of V*D/ratio channels
        g_v = 2 * sigmoid(U_v s + c_v)          twice, so that a neutral gate leaves its channel unchanged
        out = [g_1 * h_1; ...; g_V * h_V]

    An absent view is zero. A frame without any view uses its main view's training mean.

    Args:
        width: D, to which every view is projected.
        ratio: width of the concatenated views over that of the bottleneck.

    Reference: Joze et al. 2020, "MMTM: Multimodal Transfer Module for CNN Fusion", equations 2-5
    (https://arxiv.org/abs/1911.08670), after Hu et al. 2018, "Squeeze-and-Excitation Networks"
    (https://arxiv.org/abs/1709.01507); pooled embeddings need no squeeze in space.
    """

    missing = "masked"
    examples = ({"width": 8}, {"width": 8, "ratio": 2})

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: Count = 256, ratio: Count = 4) -> None:
        super().__init__(in_dims, num_classes, width)
        joint = len(in_dims) * width
        narrow = max(joint // ratio, 1)
        self.squeeze = nn.Sequential(nn.Linear(joint, narrow), nn.ReLU())
        self.excite = nn.Linear(narrow, joint)

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Gate the channels: (B, V, D) to (B, V * D)."""
        joint = views.masked_fill(~readable(present)[..., None], 0.0).flatten(1)
        return joint * 2 * torch.sigmoid(self.excite(self.squeeze(joint)))
