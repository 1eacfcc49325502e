"""Attention pooling: one query reads the maps of all views."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError
from fusionkit_fusions.masked_fusion import MaskedFusion
from fusionkit_fusions.token_fusion import learned


class AttentionPool(MaskedFusion):
    """The mean of all places of all views is the query of an attention over these places.

    Every place is projected, and carries a learned embedding of its view and the sines and cosines of its position.
    Positions are those in the view, so that maps of different grids can be fused. Places of absent views are masked; a
    frame without any view uses its main view's training mean.

    Args:
        width: D, to which every place is projected; a multiple of 4.
        heads: attention heads; must divide ``width``.

    Raises:
        ConfigError: if ``width`` is no multiple of 4 and of ``heads``.

    Reference: the attention pooling of Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
    Supervision", section 2.4 (https://arxiv.org/abs/2103.00020). Several views, and fixed positions in place of learned
    ones, are our reading.
    """

    needs = "map"
    examples = ({"width": 8, "heads": 2},)

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: Count = 128, heads: Count = 4) -> None:
        super().__init__(in_dims, num_classes)
        if width % heads or width % 4:
            raise ConfigError(
                f"fusion AttentionPool: option width = {width} must be a multiple of 4 and heads = {heads}"
            )
        self.width = width
        self.project = self.linear_per_view(width)
        self.marks = learned(len(in_dims), width)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Fuse maps (B, D_v, H, W) of each view to (B, D)."""
        shown = self.readable(present)
        places, hidden = [], []
        for index, (name, layer) in enumerate(zip(self.in_dims, self.project, strict=True)):
            value = views[name]
            places.append(layer(value.flatten(2).mT) + self.marks[index] + positions(value, self.width))
            hidden.append(~shown[:, index, None].expand(-1, places[-1].shape[1]))
        tokens, absent = self.norm(torch.cat(places, 1)), torch.cat(hidden, 1)
        there = ~absent[..., None]
        query = (tokens * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)
        pooled, _ = self.attention(query, tokens, tokens, key_padding_mask=absent, need_weights=False)
        fused: Tensor = pooled[:, 0]
        return fused


def positions(grid: Tensor, width: int) -> Tensor:
    """Return sines and cosines of the centres of the places of a map (B, D, H, W): (H W, width).

    Row and column, from 0 to 1, have half of the width each, at wavelengths from 2 down to the sides of one place.
    """
    rows, columns = grid.shape[2:]
    waves = torch.pi * torch.logspace(0, 4, width // 4, base=2, dtype=grid.dtype, device=grid.device)
    angles = [
        ((torch.arange(count, dtype=grid.dtype, device=grid.device) + 0.5) / count)[:, None] * waves
        for count in (rows, columns)
    ]
    row, column = (torch.cat([each.sin(), each.cos()], 1) for each in angles)
    return torch.cat([row[:, None].expand(-1, columns, -1), column[None].expand(rows, -1, -1)], 2).flatten(0, 1)
