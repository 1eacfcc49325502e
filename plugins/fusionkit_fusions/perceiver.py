"""Perceiver: a few latent vectors read the tokens of all views."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from fusionkit.contracts import require_count
from fusionkit_fusions.token_views import TokenFusion, learned


class Perceiver(TokenFusion):
    """Learned latent vectors attend to the tokens of all views, then to each other; their mean is the joint embedding.

    The cost grows with tokens times latents, not with tokens squared. Every token carries a learned mark of its view.
    Tokens of absent views are not read; a frame without any view gives its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every token is projected.
        heads: attention heads; must divide ``width``.
        token_count: K, tokens a view, pooled from the backbone's.
        latents: how many latent vectors there are.
        depth: transformer layers on the latents, after one reading.

    Reference: Jaegle et al. 2021, "Perceiver: General Perception with Iterative Attention"
    (https://arxiv.org/abs/2103.03206), with a single reading.
    """

    name: ClassVar[str] = "perceiver"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "heads": 2, "token_count": 3, "latents": 4},)

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        width: int = 128,
        heads: int = 4,
        token_count: int = 16,
        latents: int = 8,
        depth: int = 1,
    ) -> None:
        super().__init__(in_dims, num_classes, width, heads, token_count)
        require_count("perceiver: latents", latents)
        require_count("perceiver: depth", depth)
        self.marks = learned(len(in_dims), 1, width)
        self.latents = learned(1, latents, width)
        self.norm_latents, self.norm_tokens, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.read = nn.MultiheadAttention(width, heads, batch_first=True)
        self.layers = nn.ModuleList([self.layer() for _ in range(depth)])

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Mean of the latents: (B, D)."""
        tokens = self.norm_tokens(self.tokens(views) + self.marks).flatten(1, 2)
        hidden = ~self.there(present).repeat_interleave(self.token_count, 1)
        latents = self.latents.expand(len(tokens), -1, -1)
        answers, _ = self.read(self.norm_latents(latents), tokens, tokens, key_padding_mask=hidden, need_weights=False)
        latents = latents + answers
        for layer in self.layers:
            latents = layer(latents)
        fused: Tensor = self.norm(latents).mean(1)
        return fused
