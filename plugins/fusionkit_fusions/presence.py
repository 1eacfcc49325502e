"""Which views of a frame a masked fusion may read."""

from __future__ import annotations

import torch
from torch import Tensor


def readable(present: Tensor) -> Tensor:
    """``present`` (B, V), with the main view, which then holds its training mean, read where a frame has no view."""
    nothing = ~present.any(1, keepdim=True)
    return torch.cat([present[:, :1] | nothing, present[:, 1:]], 1)


def with_main(present: Tensor) -> Tensor:
    """``present`` (B, V), with the main view always read: where it is absent it stands in as its training mean."""
    return torch.cat([torch.ones_like(present[:, :1]), present[:, 1:]], 1)


def masked_mean(views: Tensor, counted: Tensor) -> Tensor:
    """Mean over the counted views: (B, V, D) and (B, V) bool to (B, D); zero where none counts."""
    total = views.masked_fill(~counted[..., None], 0.0).sum(1)
    return total / counted.sum(1, keepdim=True).clamp(min=1)
