"""A mixture of experts: one expert a view, and a router that says whom to ask."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, require_count
from fusionkit_fusions.presence import readable


class MixtureOfExperts(Fusion):
    """Each view has an expert, a hidden layer of its own; a router that sees all views weighs the experts.

    ``out = sum over v of  g_v * relu(W_v x_v + b_v)``, g the softmax of a linear layer on the views side by side, over
    the views that are present and, with ``top``, over the highest of them. Absent views are zero for the router; a
    frame without any view gives its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: of an expert's hidden layer.
        top: how many experts are asked for a frame; all where it is not given.

    Reference: Shazeer et al. 2017, "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer",
    equations 1-5 (https://arxiv.org/abs/1701.06538), without its noise; an expert a view is our reading.
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8}, {"width": 8, "top": 2})

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: int = 256, top: int | None = None) -> None:
        super().__init__(in_dims, num_classes)
        require_count("mixture-of-experts: width", width)
        if top is not None:
            require_count("mixture-of-experts: top", top)
        self.top = None if top is None or top >= len(in_dims) else top
        self.experts = nn.ModuleList([nn.Linear(dim, width) for dim in in_dims.values()])
        # A single expert is always asked.
        self.router = nn.Linear(sum(in_dims.values()), len(in_dims)) if len(in_dims) > 1 else None

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """What the experts say, weighed: (B, width)."""
        said = torch.stack(
            [torch.relu(layer(views[name])) for name, layer in zip(self.in_dims, self.experts, strict=True)], 1
        )
        if self.router is None:
            return said[:, 0]
        there = readable(torch.stack([present[name] for name in self.in_dims], 1))
        seen = [views[name].masked_fill(~there[:, place, None], 0.0) for place, name in enumerate(self.in_dims)]
        scores = self.router(torch.cat(seen, 1)).masked_fill(~there, -torch.inf)
        if self.top:
            least = scores.topk(self.top, 1).values[:, -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        return torch.einsum("bv,bvd->bd", scores.softmax(1), said)
