"""Concatenation, the simplest fusion that sees every view."""

from __future__ import annotations

import torch
from torch import Tensor

from fusionkit.contracts import Fusion


class PlainConcat(Fusion):
    """The views side by side, with a linear head.

    Absent views stand in as their training mean. The order of the views does not matter beyond the head's columns.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.

    Reference: Baltrusaitis et al. 2019, "Multimodal Machine Learning: A Survey and Taxonomy", early fusion
    (https://arxiv.org/abs/1705.09406).
    """

    def fuse(self, views: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Concatenate: (B, sum of D_v)."""
        return torch.cat([views[name] for name in self.in_dims], 1)
