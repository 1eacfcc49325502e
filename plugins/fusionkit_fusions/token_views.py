"""What the fusions on tokens share: tokens of all views, projected, marked with their view, and who may be read."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, require_count
from fusionkit.errors import ConfigError
from fusionkit_fusions.presence import readable, with_main


class TokenFusion(Fusion):
    """A fusion that looks at K tokens a view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: D, to which every token is projected.
        heads: attention heads; must divide ``width``.
        token_count: K, tokens a view, pooled from the backbone's.

    Attributes:
        name: of the fusion, as errors give it.
    """

    needs: ClassVar[Literal["pooled", "tokens"]] = "tokens"
    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    token_count: int = 16
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({"width": 8, "heads": 2, "token_count": 3},)
    name: ClassVar[str]

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, width: int = 128, heads: int = 4, token_count: int = 16
    ) -> None:
        super().__init__(in_dims, num_classes)
        for option, value in (("width", width), ("heads", heads), ("token_count", token_count)):
            require_count(f"{self.name}: {option}", value)
        if width % heads:
            raise ConfigError(f"{self.name}: heads={heads} does not divide width={width}")
        self.width, self.heads, self.token_count = width, heads, token_count
        self.project = nn.ModuleList([nn.Linear(dim, width) for dim in in_dims.values()])

    def tokens(self, views: dict[str, Tensor]) -> Tensor:
        """Projected tokens of all views: (B, K, D_v) a view to (B, V, K, D)."""
        layers = zip(self.in_dims, self.project, strict=True)
        return torch.stack([layer(views[name]) for name, layer in layers], 1)

    def there(self, present: dict[str, Tensor], *, main: bool = False) -> Tensor:
        """(B, V) bool: the views that may be read; with ``main`` the main view always, even as its training mean."""
        flags = torch.stack([present[name] for name in self.in_dims], 1)
        return with_main(flags) if main else readable(flags)

    def layer(self) -> nn.TransformerEncoderLayer:
        """A pre-norm transformer layer, four times as wide inside, without dropout."""
        return nn.TransformerEncoderLayer(
            self.width, self.heads, 4 * self.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )


def learned(*shape: int) -> nn.Parameter:
    """Learned tokens or marks, drawn as in vision transformers (normal, standard deviation 0.02)."""
    return nn.Parameter(torch.randn(*shape) * 0.02)
