"""Squeeze and excitation over views: all views together decide which channels of each view speak up."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import StackedFusion, require_count
from fusionkit_fusions.presence import readable


class SqueezeExcitation(StackedFusion):
    """Channel gates for each view, from a joint squeeze of all views; the gated views stand side by side.

    With h the projected views side by side::

        s   = relu(W h + b)                     a bottleneck of V*D/ratio channels
        g_v = 2 * sigmoid(U_v s + c_v)          twice, so that a gate that has no opinion leaves its channel as it is
        out = [g_1 * h_1; ...; g_V * h_V]

    An absent view is zero. A frame without any view gives its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every view is projected.
        ratio: how many times narrower the bottleneck is than the views side by side.

    Reference: Joze et al. 2020, "MMTM: Multimodal Transfer Module for CNN Fusion", equations 2-5
    (https://arxiv.org/abs/1911.08670), after Hu et al. 2018, "Squeeze-and-Excitation Networks"
    (https://arxiv.org/abs/1709.01507); on pooled embeddings there is nothing left to squeeze in space.
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8}, {"width": 8, "ratio": 2})

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: int = 256, ratio: int = 4) -> None:
        require_count("squeeze-excitation: width", width)
        require_count("squeeze-excitation: ratio", ratio)
        super().__init__(in_dims, num_classes, width)
        joint = len(in_dims) * width
        narrow = max(joint // ratio, 1)
        self.squeeze = nn.Sequential(nn.Linear(joint, narrow), nn.ReLU())
        self.excite = nn.Linear(narrow, joint)

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Gate the channels: (B, V, D) to (B, V * D)."""
        joint = views.masked_fill(~readable(present)[..., None], 0.0).flatten(1)
        return joint * 2 * torch.sigmoid(self.excite(self.squeeze(joint)))
