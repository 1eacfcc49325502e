"""Cross-attention from the tokens of the main view to those of the auxiliary views."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Views
from fusionkit_fusions.masked_fusion import with_main
from fusionkit_fusions.token_fusion import TokenFusion, learned


class CrossAttention(TokenFusion):
    """Tokens of the main view give the queries, tokens of the auxiliary views keys and values; with a residual.

    ``z = h + attention(norm(h), norm(a), norm(a))``, then a feed-forward layer with its own residual, then the mean
    over the main view's tokens. h and a are the projected tokens, a with a learned embedding of its view. Frames
    without auxiliary views, and a single view, attend to the main view itself. An absent main view is replaced by its
    training mean.

    Reference: the crossmodal attention of Tsai et al. 2019, "Multimodal Transformer for Unaligned Multimodal Language
    Sequences", section 3.1 (https://arxiv.org/abs/1906.00295), one direction and one layer of it.
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int, **options: Any) -> None:
        super().__init__(in_dims, num_classes, **options)
        width = self.width
        self.marks = learned(len(in_dims), 1, width)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, self.heads, batch_first=True)
        self.forward_layer = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Return the main view after attention to the others: (B, D)."""
        tokens = self.norm(self.tokens(views) + self.marks)
        auxiliary = with_main(self.flags(present))[:, 1:]
        attended_views = torch.cat([~auxiliary.any(1, keepdim=True), auxiliary], 1)
        rows, count, length, width = tokens.shape
        # Two tensors: of a single one, torch projects keys and values in one product, which rounds differently.
        queries, keys, values = tokens[:, 0], *(tokens.view(rows, count * length, width) for _ in range(2))
        hidden = ~attended_views.repeat_interleave(length, 1)
        attended, _ = self.attention(queries, keys, values, key_padding_mask=hidden, need_weights=False)
        guided = self.project[0](views[self.main]) + attended
        fused: Tensor = (guided + self.forward_layer(guided)).mean(1)
        return fused
