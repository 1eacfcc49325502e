"""Late fusion with learned weights: how much each classifier is heard."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fusionkit.contracts import FusionOutput
from fusionkit_fusions.late import LateFusion


class LogitWeights(LateFusion):
    """A classifier per view; their logits are added with learned weights, a softmax of one number a view.

    The classifiers learn by their own losses and the weights by the loss of what is said together, which does not reach
    the classifiers. Weights of the views that are present add up to one.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        hidden: width of a hidden layer in each classifier; 0 for a linear one.

    Reference: Kittler et al. 1998, "On combining classifiers", the weighted sum rule
    (https://doi.org/10.1109/34.667881), here on logits with weights learned by gradient steps.
    """

    name: ClassVar[str] = "logit-weights"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"hidden": 8})

    def __init__(self, in_dims: dict[str, int], num_classes: int, hidden: int = 0) -> None:
        super().__init__(in_dims, num_classes, hidden)
        # A single view has all the weight: nothing to learn.
        self.scores = nn.Parameter(torch.zeros(len(in_dims))) if len(in_dims) > 1 else None

    def decide(self, logits: Tensor, there: Tensor) -> Tensor:
        """Weighted logits: (B, V, C) to (B, C)."""
        if self.scores is None:
            return logits[:, 0]
        weights = self.scores.masked_fill(~there, -torch.inf).softmax(1)
        heard = logits.detach() if self.training else logits
        return torch.einsum("bv,bvc->bc", weights, heard)

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """The views' own losses, and that of what they say together."""
        assert output.logits is not None
        own = super().loss(output, target)
        return own if self.scores is None else own + self.criterion(output.logits, target)
