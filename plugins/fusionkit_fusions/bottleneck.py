"""Bottleneck tokens: views exchange information through a few shared tokens only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.masked_fusion import masked_mean
from fusionkit_fusions.token_fusion import TokenFusion, learned


class Bottleneck(TokenFusion):
    """Each view has its own transformer layers; views exchange information through a few bottleneck tokens.

    In each layer a view attends to its own tokens and the bottleneck. The bottleneck of the next layer is the mean of
    its versions from the present views. The joint embedding is the mean of the present views' class tokens. A frame
    without any view uses its main view's training mean.

    Args:
        bottlenecks: number of shared tokens.
        depth: transformer layers of each view; below two nothing is exchanged.

    Reference: Nagrani et al. 2021, "Attention Bottlenecks for Multimodal Fusion", equations 8-9
    (https://arxiv.org/abs/2107.00135). They average the logits of the class tokens; a linear head on the mean is the
    same function.
    """

    examples = ({"width": 8, "heads": 2, "token_count": 3, "bottlenecks": 2},)

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, bottlenecks: Count = 4, depth: Count = 2, **options: Any
    ) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.summaries = learned(len(in_dims), 1, self.width)
        self.shared = learned(1, bottlenecks, self.width)
        self.layers = nn.ModuleList([nn.ModuleList([self.layer() for _ in in_dims]) for _ in range(depth)])
        self.norm = nn.LayerNorm(self.width)

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Return the mean of the class tokens: (B, D)."""
        tokens, visible = self.tokens(views), self.readable(present)
        rows = tokens.shape[0]
        sequences = [
            torch.cat([self.summaries[view].expand(rows, 1, -1), tokens[:, view]], 1)
            for view in range(len(self.in_dims))
        ]
        shared = self.shared.expand(rows, -1, -1)
        own = self.token_count + 1
        for layers in self.layers:
            assert isinstance(layers, nn.ModuleList)
            out = [layer(torch.cat([sequence, shared], 1)) for layer, sequence in zip(layers, sequences, strict=True)]
            sequences = [values[:, :own] for values in out]
            exchanged = torch.stack([values[:, own:].flatten(1) for values in out], 1)
            shared = masked_mean(exchanged, visible).view(rows, -1, self.width)
        return masked_mean(self.norm(torch.stack([sequence[:, 0] for sequence in sequences], 1)), visible)
