"""Perceiver: a few latent vectors attend to the tokens of all views."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.token_fusion import TokenFusion, learned


class Perceiver(TokenFusion):
    """Learned latent vectors attend to the tokens of all views, then to each other; their mean is the joint embedding.

    The cost grows with tokens times latents, not with tokens squared. Every token carries a learned embedding of its
    view. Tokens of absent views are masked; a frame without any view uses its main view's training mean.

    Args:
        latents: number of latent vectors.
        depth: transformer layers on the latents, after one cross-attention.

    Reference: Jaegle et al. 2021, "Perceiver: General Perception with Iterative Attention"
    (https://arxiv.org/abs/2103.03206), with a single cross-attention.
    """

    examples = ({"width": 8, "heads": 2, "token_count": 3, "latents": 4},)

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, latents: Count = 8, depth: Count = 1, **options: Any
    ) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.marks = learned(len(in_dims), 1, self.width)
        self.latents = learned(1, latents, self.width)
        self.norm_latents, self.norm_tokens, self.norm = (nn.LayerNorm(self.width) for _ in range(3))
        self.read = nn.MultiheadAttention(self.width, self.heads, batch_first=True)
        self.layers = nn.ModuleList([self.layer() for _ in range(depth)])

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Return the mean of the latents: (B, D)."""
        tokens = self.norm_tokens(self.tokens(views) + self.marks).flatten(1, 2)
        hidden = ~self.readable(present).repeat_interleave(self.token_count, 1)
        latents = self.latents.expand(tokens.shape[0], -1, -1)
        attended, _ = self.read(self.norm_latents(latents), tokens, tokens, key_padding_mask=hidden, need_weights=False)
        latents = latents + attended
        for layer in self.layers:
            latents = layer(latents)
        fused: Tensor = self.norm(latents).mean(1)
        return fused
