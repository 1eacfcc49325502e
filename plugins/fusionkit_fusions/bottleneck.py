"""Bottleneck tokens: views talk to each other through a few shared tokens only."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fusionkit.contracts import require_count
from fusionkit_fusions.presence import masked_mean
from fusionkit_fusions.token_views import TokenFusion, learned


class Bottleneck(TokenFusion):
    """Each view has its own transformer layers; what they exchange goes through a few bottleneck tokens.

    In each layer a view sees its own tokens and the bottleneck; the bottleneck of the next layer is the mean of what
    the present views made of it. The joint embedding is the mean of the present views' class tokens. A frame without
    any view gives its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every token is projected.
        heads: attention heads; must divide ``width``.
        token_count: K, tokens a view, pooled from the backbone's.
        bottlenecks: how many shared tokens there are.
        depth: transformer layers of each view; below two nothing is exchanged.

    Reference: Nagrani et al. 2021, "Attention Bottlenecks for Multimodal Fusion", equations 8-9
    (https://arxiv.org/abs/2107.00135). They average the logits of the class tokens; a linear head on the mean is the
    same function.
    """

    name: ClassVar[str] = "bottleneck"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "heads": 2, "token_count": 3, "bottlenecks": 2},)

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: int = 128,
        heads: int = 4,
        token_count: int = 16,
        bottlenecks: int = 4,
        depth: int = 2,
    ) -> None:
        super().__init__(in_dims, num_classes, width, heads, token_count)
        require_count("bottleneck: bottlenecks", bottlenecks)
        require_count("bottleneck: depth", depth)
        self.summaries = learned(len(in_dims), 1, width)
        self.shared = learned(1, bottlenecks, width)
        self.layers = nn.ModuleList([nn.ModuleList([self.layer() for _ in in_dims]) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Mean of the class tokens: (B, D)."""
        tokens, there = self.tokens(views), self.there(present)
        rows = len(tokens)
        sequences = [
            torch.cat([self.summaries[view].expand(rows, 1, -1), tokens[:, view]], 1)
            for view in range(len(self.in_dims))
        ]
        shared = self.shared.expand(rows, -1, -1)
        own = self.token_count + 1
        for layers in self.layers:
            assert isinstance(layers, nn.ModuleList)
            seen = [layer(torch.cat([sequence, shared], 1)) for layer, sequence in zip(layers, sequences, strict=True)]
            sequences = [values[:, :own] for values in seen]
            exchanged = torch.stack([values[:, own:].flatten(1) for values in seen], 1)
            shared = masked_mean(exchanged, there).view(rows, -1, self.width)
        return masked_mean(self.norm(torch.stack([sequence[:, 0] for sequence in sequences], 1)), there)
