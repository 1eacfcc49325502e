"""Quality-aware late fusion: each classifier is weighted by its energy-based confidence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fusionkit.contracts import FusionOutput
from fusionkit.contracts.option_types import NonNegative
from fusionkit_fusions.late import LateFusion


class Qmf(LateFusion):
    """A classifier per view; each frame's logits are weighted by the energy-based confidence of their view.

    With l_v the logits of a view, ``c_v = logsumexp(l_v) / 10`` and the fused logits are ``sum of c_v * l_v`` over the
    views that are present. The loss is that of the fused logits, that of each view, and a ranking loss that lowers
    confidence where the loss is higher: for neighbouring frames i, j of a batch (the last with the first)
    ``max(0, g * (c_j - c_i) + |L_i - L_j|)`` with g = 1 where i has the lower loss and -1 where j has.
    The paper ranks by each frame's losses over past epochs; a fusion has no frame identities, so ours ranks by the
    current losses.

    Args:
        rank: weight of the ranking loss.

    Reference: Zhang et al. 2023, "Provable Dynamic Fusion for Low-Quality Multimodal Data", section 3.3
    (https://arxiv.org/abs/2306.02050).
    """

    exclusive = True

    examples = ({}, {"hidden": 8, "rank": 0.0})

    def __init__(self, in_dims: dict[str, int], num_classes: int, rank: NonNegative = 0.1, **options: Any) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.rank = rank

    def decide(self, logits: Tensor, visible: Tensor) -> Tensor:
        """Sum the logits, each view's times its confidence: (B, V, C) to (B, C)."""
        weights = confidence(logits).masked_fill(~visible, 0.0)
        return torch.einsum("bv,bvc->bc", weights, logits)

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """Return the loss of the fused logits, the losses of the views, and the ranking of their confidence."""
        assert output.logits is not None
        assert output.view_logits is not None
        ranked = [ranking(logits, target) for logits in output.view_logits.values()]
        return (
            self.criterion(output.logits, target) + super().loss(output, target) + self.rank * torch.stack(ranked).sum()
        )


def confidence(logits: Tensor) -> Tensor:
    """Return a tenth of the negative free energy: (..., C) to (...)."""
    return logits.logsumexp(-1) / 10


def ranking(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean violation of the ranking of confidence by loss, over neighbouring frames."""
    losses = torch.nn.functional.cross_entropy(logits.detach(), target, reduction="none")
    here = confidence(logits)
    next_loss, next_here = losses.roll(-1), here.roll(-1)
    order = torch.sign(next_loss - losses)
    return (order * (next_here - here) + (next_loss - losses).abs()).clamp(min=0).mean()
