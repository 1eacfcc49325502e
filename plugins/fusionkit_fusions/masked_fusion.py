"""Base and functions of fusions that leave absent views out."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fusionkit.contracts.fusion import Fusion, Views


class MaskedFusion(Fusion):
    """Base of fusions that leave absent views out, with a layer per view."""

    missing = "masked"

    def linear_per_view(self, width: int) -> nn.ModuleList:
        """Return a linear layer from each view's width to ``width``."""
        return nn.ModuleList([nn.Linear(dim, width) for dim in self.in_dims.values()])

    def each(self, layers: Iterable[nn.Module], views: Views) -> list[Tensor]:
        """Apply a layer to each view, in the order of ``in_dims``."""
        return [layer(views[name]) for name, layer in zip(self.in_dims, layers, strict=True)]

    def flags(self, present: Views) -> Tensor:
        """Return ``present`` as (B, V) bool."""
        return torch.stack([present[name] for name in self.in_dims], 1)

    def readable(self, present: Views) -> Tensor:
        """Return which views to read, as (B, V) bool: see :func:`readable`."""
        return readable(self.flags(present))

    def zeroed(self, views: Views, visible: Tensor) -> list[Tensor]:
        """Return the views, in the order of ``in_dims``, zero where ``visible`` (B, V) is False."""
        return [views[name].masked_fill(~visible[:, index, None], 0.0) for index, name in enumerate(self.in_dims)]


def readable(present: Tensor) -> Tensor:
    """Return ``present`` (B, V), with the main view, then its training mean, added to frames without any view."""
    nothing = ~present.any(1, keepdim=True)
    return torch.cat([present[:, :1] | nothing, present[:, 1:]], 1)


def with_main(present: Tensor) -> Tensor:
    """Return ``present`` (B, V), with the main view added to all frames: where absent, it is its training mean."""
    return torch.cat([torch.ones_like(present[:, :1]), present[:, 1:]], 1)


def masked_mean(views: Tensor, visible: Tensor) -> Tensor:
    """Average the visible views: (B, V, D) and (B, V) bool to (B, D); zero where none is visible."""
    total = views.masked_fill(~visible[..., None], 0.0).sum(1)
    return total / visible.sum(1, keepdim=True).clamp(min=1)
