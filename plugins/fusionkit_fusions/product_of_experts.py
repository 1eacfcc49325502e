"""Late fusion by multiplication: the product of what the classifiers hold for likely."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fusionkit_fusions.late import LateFusion


class ProductOfExperts(LateFusion):
    """A classifier per view; the probabilities of the views that are present are multiplied.

    The logits are the sum of the views' log-probabilities, so one view that is sure of a class being wrong outweighs
    several that are not sure of anything.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        hidden: width of a hidden layer in each classifier; 0 for a linear one.
        learn: ``separate``: each classifier by its own loss. ``joint``: one loss on what they say together.

    Reference: Hinton 2002, "Training Products of Experts by Minimizing Contrastive Divergence"
    (https://doi.org/10.1162/089976602760128018); the product rule of Kittler et al. 1998.
    """

    name: ClassVar[str] = "product-of-experts"

    def decide(self, logits: Tensor, there: Tensor) -> Tensor:
        """Sum of log-probabilities: (B, V, C) to (B, C)."""
        return logits.log_softmax(2).masked_fill(~there[..., None], 0.0).sum(1)
