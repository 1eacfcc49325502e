"""Cross-attention: tokens of the main view look at those of the auxiliary views."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fusionkit_fusions.token_views import TokenFusion, learned


class CrossAttention(TokenFusion):
    """Tokens of the main view ask, tokens of the auxiliary views answer, and the answer is added to the main view.

    ``z = h + attention(norm(h), norm(a), norm(a))``, then a feed-forward layer with its own skip, then the mean over
    the main view's tokens; h and a are the projected tokens, a with a learned mark of its view. Frames without
    auxiliary views, and a single view, ask the main view itself. An absent main view stands in as its training mean.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every token is projected.
        heads: attention heads; must divide ``width``.
        token_count: K, tokens a view, pooled from the backbone's.

    Reference: the crossmodal attention of Tsai et al. 2019, "Multimodal Transformer for Unaligned Multimodal Language
    Sequences", section 3.1 (https://arxiv.org/abs/1906.00295), one direction and one layer of it.
    """

    name: ClassVar[str] = "cross-attention"

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, width: int = 128, heads: int = 4, token_count: int = 16
    ) -> None:
        super().__init__(in_dims, num_classes, width, heads, token_count)
        self.marks = learned(len(in_dims), 1, width)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.forward_layer = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """The main view, guided: (B, D)."""
        tokens = self.norm(self.tokens(views) + self.marks)
        there = self.there(present, main=True)
        alone = ~there[:, 1:].any(1, keepdim=True)  # asks itself
        asked = torch.cat([alone, there[:, 1:]], 1)
        rows, count, length, width = tokens.shape
        answers, _ = self.attention(
            tokens[:, 0],
            tokens.view(rows, count * length, width),
            tokens.view(rows, count * length, width),
            key_padding_mask=~asked.repeat_interleave(length, 1),
            need_weights=False,
        )
        guided = self.project[0](views[self.main]) + answers
        fused: Tensor = (guided + self.forward_layer(guided)).mean(1)
        return fused
