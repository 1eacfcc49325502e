"""Tensor fusion: the full outer product of all views."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from fusionkit.contracts.fusion import Views
from fusionkit.contracts.option_types import Count
from fusionkit.errors import ConfigError
from fusionkit_fusions.masked_fusion import MaskedFusion

_MOST = 4096  # products of a frame, where the width is chosen automatically
_LIMIT = 1 << 20


class TensorFusion(MaskedFusion):
    """The outer product of ``[relu(W_v x_v + b_v); 1]`` over all views, with a linear head.

    It holds every product of one, two, ... and all views' hidden features, and grows exponentially with their number.
    An absent view is zero, so that only its one takes part; a frame without any view uses its main view's training
    mean.

    Args:
        width: hidden features per view. Not given: the most, up to 64, that keep the product at 4096 numbers: 63 for
            two views, 15 for three.

    Raises:
        ConfigError: if the product would have more than 2**20 numbers.

    Reference: Zadeh et al. 2017, "Tensor Fusion Network for Multimodal Sentiment Analysis", section 4.2
    (https://arxiv.org/abs/1707.07250).
    """

    examples = ({}, {"width": 2})

    def __init__(self, in_dims: dict[str, int], num_classes: int, width: Count | None = None) -> None:
        super().__init__(in_dims, num_classes)
        views = len(in_dims)
        if width is None:
            width = max(size for size in range(1, 65) if size == 1 or (size + 1) ** views <= _MOST)
        if (width + 1) ** views > _LIMIT:
            raise ConfigError(
                f"tensor: option width = {width} gives {(width + 1) ** views:,} products per frame with {views} views; "
                f"at most {_LIMIT:,} are allowed"
            )
        self.hidden = self.linear_per_view(width)

    def fuse(self, views: Views, present: Views) -> Tensor:
        """Return the outer product: (B, (width + 1) ** V)."""
        visible = self.readable(present)
        hidden = [
            torch.relu(h).masked_fill(~visible[:, index, None], 0.0)
            for index, h in enumerate(self.each(self.hidden, views))
        ]
        return reduce(
            lambda product, factor: torch.einsum("bi,bj->bij", product, factor).flatten(1),
            [torch.cat([h, torch.ones_like(h[:, :1])], 1) for h in hidden],
        )
