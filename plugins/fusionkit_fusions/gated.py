"""Gated multimodal units: all views together decide the weight of each view, channel by channel."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.masked_fusion import MaskedFusion


class Gated(MaskedFusion):
    """A gate for each view and channel, computed from all views, weights the views' hidden features.

    With x the concatenated views::

        h_v = tanh(W_v x_v + b_v)
        z   = the gates: softmax over views of (U_v x + c_v), or the sigmoid of each
        h   = sum over v of  z_v * h_v

    For two views the softmax is the paper's bimodal unit, ``z * h_1 + (1 - z) * h_2``; the sigmoid is its form for more
    than two. An absent view is left out of sum and softmax; a frame without any view uses its main view's training
    mean.

    Args:
        width: D of the hidden features.
        gate: ``softmax``: the gates of a channel sum to one. ``sigmoid``: each view's gate is independent.

    Reference: Arevalo et al. 2017, "Gated Multimodal Units for Information Fusion", equations 1-2
    (https://arxiv.org/abs/1702.01992).
    """

    examples = ({"width": 8}, {"width": 8, "gate": "sigmoid"})

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: Count = 256,
        gate: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        super().__init__(in_dims, num_classes)
        self.gate = gate
        self.hidden = self.linear_per_view(width)
        # The softmax of a single view is one.
        weights = len(in_dims) > 1 or gate == "sigmoid"
        self.gates = nn.Linear(sum(in_dims.values()), len(in_dims) * width) if weights else None

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Return the gated sum: (B, width)."""
        visible = self.readable(present)
        hidden = torch.stack([torch.tanh(h) for h in self.each(self.hidden, views)], 1)
        if self.gates is None:
            return hidden[:, 0]
        scores = self.gates(torch.cat(self.zeroed(views, visible), 1)).view(hidden.shape)
        if self.gate == "softmax":
            weights = scores.masked_fill(~visible[..., None], -torch.inf).softmax(1)
        else:
            weights = scores.sigmoid().masked_fill(~visible[..., None], 0.0)
        joint: Tensor = (weights * hidden).sum(1)
        return joint
