"""Tensor fusion: the outer product of all views, written out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import Fusion, require_count
from fusionkit.errors import ConfigError
from fusionkit_fusions.presence import readable

_MOST = 4096  # products of a frame, where the width is chosen for the user
_LIMIT = 1 << 20


class TensorFusion(Fusion):
    """The outer product of ``[relu(W_v x_v + b_v); 1]`` over all views, with a linear head.

    It holds every product of one, two, ... and all views' hidden features, and grows with the power of their number. An
    absent view is zero, so that its one alone takes part; a frame without any view gives its imputed main view.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        width: hidden features a view. Where it is not given, the most, up to 64, that keep the product at 4096
            numbers: 63 for two views, 15 for three.

    Raises:
        ConfigError: if the product would have more than 2**20 numbers.

    Reference: Zadeh et al. 2017, "Tensor Fusion Network for Multimodal Sentiment Analysis", section 4.2
    (https://arxiv.org/abs/1707.07250).
    """

    missing: ClassVar[Literal["masked", "imputed"]] = "masked"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"width": 2})

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: int | None = None) -> None:
        super().__init__(in_dims, num_classes)
        views = len(in_dims)
        if width is None:
            width = max(size for size in range(1, 65) if size == 1 or (size + 1) ** views <= _MOST)
        require_count("tensor: width", width)
        if (width + 1) ** views > _LIMIT:
            raise ConfigError(
                f"tensor: width={width} with {views} views makes {(width + 1) ** views:,} products a frame; "
                f"at most {_LIMIT:,} are allowed"
            )
        self.hidden = nn.ModuleList([nn.Linear(dim, width) for dim in in_dims.values()])

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """The outer product: (B, (width + 1) ** V)."""
        there = readable(torch.stack([present[name] for name in self.in_dims], 1))
        product: Tensor | None = None
        for place, (name, layer) in enumerate(zip(self.in_dims, self.hidden, strict=True)):
            hidden = torch.relu(layer(views[name])).masked_fill(~there[:, place, None], 0.0)
            factor = torch.cat([hidden, torch.ones_like(hidden[:, :1])], 1)
            product = factor if product is None else torch.einsum("bi,bj->bij", product, factor).flatten(1)
        assert product is not None
        return product
