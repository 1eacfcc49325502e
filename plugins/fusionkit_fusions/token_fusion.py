"""Base of the fusions on tokens: the tokens of all views, projected, and transformer layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError
from fusionkit_fusions.masked_fusion import MaskedFusion


class TokenFusion(MaskedFusion):
    """Base of fusions on K tokens per view.

    Args:
        width: D, to which every token is projected.
        heads: attention heads; must divide ``width``.
        token_count: K, tokens per view, pooled from the backbone's.
    """

    needs = "tokens"
    token_count = 16
    examples = ({"width": 8, "heads": 2, "token_count": 3},)

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, width: Count = 128, heads: Count = 4, token_count: Count = 16
    ) -> None:
        super().__init__(in_dims, num_classes)
        if width % heads:
            raise ConfigError(f"fusion {type(self).__name__}: option heads = {heads} must divide width = {width}")
        self.width, self.heads, self.token_count = width, heads, token_count
        self.project = self.linear_per_view(width)

    def tokens(self, views: Views) -> Tensor:
        """Return the projected tokens of all views: (B, K, D_v) a view to (B, V, K, D)."""
        return torch.stack(self.each(self.project, views), 1)

    def layer(self) -> nn.TransformerEncoderLayer:
        """Return a pre-norm transformer layer, four times as wide inside, without dropout."""
        return nn.TransformerEncoderLayer(
            self.width, self.heads, 4 * self.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )


def learned(*shape: int) -> nn.Parameter:
    """Return learned tokens or view embeddings, initialised as in vision transformers (normal, std 0.02)."""
    return nn.Parameter(torch.randn(*shape) * 0.02)
