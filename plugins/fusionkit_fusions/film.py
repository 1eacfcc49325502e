"""Feature-wise linear modulation: one view scales and shifts the channels of another."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fusionkit.contracts import StackedFusion
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.masked_fusion import masked_mean, with_main

_INITIAL_STD = 0.02  # of the modulation's weights


class Film(StackedFusion):
    """The main view scales and shifts the auxiliary views, or the reverse.

    With h the projected views, a the mean of the auxiliary ones that are present, and gamma and beta linear layers with
    small initial weights, so that the modulation starts near the identity::

        by="main":       (1 + gamma(h_main)) * a + beta(h_main)   added to h_main
        by="auxiliary":  (1 + gamma(a)) * h_main + beta(a)

    A frame without auxiliary views, and a single view, give h_main. An absent main view is replaced by its training
    mean. The published layer has no residual; ours adds the modulating view where ``by`` is ``main``.

    Args:
        width: D, to which every view is projected.
        by: the modulating side.

    Reference: Perez et al. 2018, "FiLM: Visual Reasoning with a General Conditioning Layer", equation 2
    (https://arxiv.org/abs/1709.07871); one plus gamma as in its section 7.2.
    """

    missing = "masked"
    examples = ({"width": 8}, {"width": 8, "by": "auxiliary"})

    def __init__(
        self, in_dims: dict[str, int], num_classes: int, width: Count = 256, by: Literal["main", "auxiliary"] = "main"
    ) -> None:
        super().__init__(in_dims, num_classes, width)
        self.by = by
        self.modulate = nn.Linear(width, 2 * width) if self.auxiliary else None
        if self.modulate is not None:
            # Not zero, which would give the modulating view no gradient in the first step.
            nn.init.normal_(self.modulate.weight, std=_INITIAL_STD)
            nn.init.zeros_(self.modulate.bias)

    def combine(self, views: Tensor, present: Tensor) -> Tensor:
        """Modulate: (B, V, D) to (B, D)."""
        main = views[:, 0]
        if self.modulate is None:
            return main
        visible = with_main(present)[:, 1:]
        auxiliary = masked_mean(views[:, 1:], visible)
        source, target = (main, auxiliary) if self.by == "main" else (auxiliary, main)
        gamma, beta = self.modulate(source).chunk(2, 1)
        modulated = (1 + gamma) * target + beta + (main if self.by == "main" else 0.0)
        return torch.where(visible.any(1, keepdim=True), modulated, main)
