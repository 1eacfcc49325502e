"""Self-attention over the tokens of all views together."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fusionkit.contracts import require_count
from fusionkit_fusions.token_views import TokenFusion, learned


class SelfAttention(TokenFusion):
    """A small transformer over a class token and the tokens of all views; the class token is the joint embedding.

    Every token carries a learned mark of its view. Tokens of absent views are not read; a frame without any view gives
    its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every token is projected.
        heads: attention heads; must divide ``width``.
        token_count: K, tokens a view, pooled from the backbone's.
        depth: transformer layers.

    Reference: Vaswani et al. 2017, "Attention Is All You Need" (https://arxiv.org/abs/1706.03762); tokens of all views
    in one sequence as in the vanilla self-attention baseline of Nagrani et al. 2021 (https://arxiv.org/abs/2107.00135).
    """

    name: ClassVar[str] = "self-attention"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "heads": 2, "token_count": 3, "depth": 2},)

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: int = 128,
        heads: int = 4,
        token_count: int = 16,
        depth: int = 1,
    ) -> None:
        super().__init__(in_dims, num_classes, width, heads, token_count)
        require_count("self-attention: depth", depth)
        self.marks = learned(len(in_dims), 1, width)
        self.summary = learned(1, 1, width)
        self.layers = nn.ModuleList([self.layer() for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """The class token: (B, D)."""
        tokens = (self.tokens(views) + self.marks).flatten(1, 2)
        hidden = ~self.there(present).repeat_interleave(self.token_count, 1)
        sequence = torch.cat([self.summary.expand(len(tokens), 1, -1), tokens], 1)
        hidden = torch.cat([torch.zeros_like(hidden[:, :1]), hidden], 1)
        for layer in self.layers:
            sequence = layer(sequence, src_key_padding_mask=hidden)
        fused: Tensor = self.norm(sequence[:, 0])
        return fused
