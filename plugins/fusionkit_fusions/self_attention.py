"""Self-attention over the tokens of all views together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.token_fusion import TokenFusion, learned


class SelfAttention(TokenFusion):
    """A small transformer over a class token and the tokens of all views; the class token is the joint embedding.

    Every token carries a learned embedding of its view. Tokens of absent views are masked; a frame without any view
    uses its main view's training mean.

    Args:
        depth: transformer layers.

    Reference: Vaswani et al. 2017, "Attention Is All You Need" (https://arxiv.org/abs/1706.03762); tokens of all views
    in one sequence as in the vanilla self-attention baseline of Nagrani et al. 2021 (https://arxiv.org/abs/2107.00135).
    """

    examples = ({"width": 8, "heads": 2, "token_count": 3, "depth": 2},)

    def __init__(self, in_dims: dict[str, int], num_classes: int, depth: Count = 1, **options: Any) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.marks = learned(len(in_dims), 1, self.width)
        self.summary = learned(1, 1, self.width)
        self.layers = nn.ModuleList([self.layer() for _ in range(depth)])
        self.norm = nn.LayerNorm(self.width)

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Return the class token: (B, D)."""
        tokens = (self.tokens(views) + self.marks).flatten(1, 2)
        hidden = ~self.readable(present).repeat_interleave(self.token_count, 1)
        sequence = torch.cat([self.summary.expand(tokens.shape[0], 1, -1), tokens], 1)
        hidden = torch.cat([torch.zeros_like(hidden[:, :1]), hidden], 1)
        for layer in self.layers:
            sequence = layer(sequence, src_key_padding_mask=hidden)
        fused: Tensor = self.norm(sequence[:, 0])
        return fused
