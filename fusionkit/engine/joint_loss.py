"""The loss of several tasks that a head learns together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fusionkit.config.recipe import fixed_weights

if TYPE_CHECKING:
    from fusionkit.contracts.task import Criterion


class JointLoss(nn.Module):
    """The weighted sum of the losses of several tasks.

    The sum of w_i L_i, with fixed weights w_i. With ``uncertainty``, the sum of ``exp(-s_i) L_i + s_i / 2``, where
    ``s_i = log sigma_i^2`` are learned and start at 0. A task without a label in a batch adds nothing.

    Args:
        losses: one per task.
        weighting: ``task_weighting`` of the recipe.
        divided: outputs and labels of a batch to those of each task, of the frames that it labels.

    Attributes:
        log_variances: the s_i (T,), if they are learned; else None.

    Reference: Kendall et al. 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses", equation 10
    (https://arxiv.org/abs/1705.07115). It is the form for classification; we use it for all tasks.
    """

    def __init__(
        self,
        losses: Sequence[Criterion],
        weighting: str,
        divided: Callable[[Tensor, Tensor], Sequence[tuple[Tensor, Tensor]]],
    ) -> None:
        super().__init__()
        self.losses, self.divided = tuple(losses), divided
        self.with_parameters = nn.ModuleList([loss for loss in losses if isinstance(loss, nn.Module)])
        self.weights = fixed_weights(weighting) or (1.0,) * len(losses)
        self.log_variances = nn.Parameter(torch.zeros(len(losses))) if weighting == "uncertainty" else None

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch, from outputs (B, O) and labels (B, sum of columns)."""
        total = outputs.sum() * 0
        for index, (own, values) in enumerate(self.divided(outputs, target)):
            if not len(values):
                continue
            loss = self.losses[index](own, values)
            if self.log_variances is None:
                total = total + self.weights[index] * loss
            else:
                s = self.log_variances[index]
                total = total + (-s).exp() * loss + s / 2
        return total
