"""Which views of a frame a masked fusion may read."""

from __future__ import annotations

import torch
from torch import Tensor


def readable(present: Tensor) -> Tensor:
    """``present`` (B, V), with the main view, which then holds its training mean, read where a frame has no view."""
    nothing = ~present.any(1, keepdim=True)
    return torch.cat([present[:, :1] | nothing, present[:, 1:]], 1)
