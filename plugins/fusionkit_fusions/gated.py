"""Gated multimodal units: for each channel, the views decide together whom to believe."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, require_choice, require_count
from fusionkit_fusions.presence import readable


class Gated(Fusion):
    """A gate for each view and channel, computed from all views, weighs the views' hidden features.

    With x the views side by side::

        h_v = tanh(W_v x_v + b_v)
        z   = the gates: softmax over views of (U_v x + c_v), or the sigmoid of each
        h   = sum over v of  z_v * h_v

    For two views the softmax is the paper's bimodal unit, ``z * h_1 + (1 - z) * h_2``; the sigmoid is its form for more
    than two. An absent view gives nothing and is not weighed; a frame without any view gives its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D of the hidden features.
        gate: ``softmax``: the gates of a channel add up to one. ``sigmoid``: each view's gate stands alone.

    Reference: Arevalo et al. 2017, "Gated Multimodal Units for Information Fusion", equations 1-2
    (https://arxiv.org/abs/1702.01992).
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8}, {"width": 8, "gate": "sigmoid"})

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: int = 256,
        gate: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        super().__init__(in_dims, num_classes)
        require_count("gated: width", width)
        require_choice("gated: gate", gate, ("softmax", "sigmoid"))
        self.gate = gate
        self.hidden = nn.ModuleList([nn.Linear(dim, width) for dim in in_dims.values()])
        # One view has nothing to be weighed against.
        self.gates = nn.Linear(sum(in_dims.values()), len(in_dims) * width) if self._weighs else None

    @property
    def _weighs(self) -> bool:
        return len(self.in_dims) > 1 or self.gate == "sigmoid"

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """The gated sum: (B, width)."""
        there = readable(torch.stack([present[name] for name in self.in_dims], 1))[..., None]
        hidden = torch.stack(
            [torch.tanh(layer(views[name])) for name, layer in zip(self.in_dims, self.hidden, strict=True)], 1
        )
        if self.gates is None:
            return hidden[:, 0]
        seen = [views[name].masked_fill(~there[:, place], 0.0) for place, name in enumerate(self.in_dims)]
        scores = self.gates(torch.cat(seen, 1)).view(hidden.shape)
        if self.gate == "softmax":
            weights = scores.masked_fill(~there, -torch.inf).softmax(1)
        else:
            weights = scores.sigmoid().masked_fill(~there, 0.0)
        joint: Tensor = (weights * hidden).sum(1)
        return joint
