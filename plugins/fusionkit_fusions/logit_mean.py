"""Late fusion: a classifier per view, and the mean of their logits."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fusionkit_fusions.late import LateFusion
from fusionkit_fusions.presence import masked_mean


class LogitMean(LateFusion):
    """A classifier per view; the logits of the views that are present are averaged.

    Each view's own logits are given as ``view_logits``. A frame without any view gives the logits of its imputed main
    view. With ``learn="joint"`` and linear classifiers it is a linear layer on the concatenation wherever no view is
    ever absent.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        hidden: width of a hidden layer in each classifier; 0 for a linear one.
        learn: ``separate``: each classifier by its own loss. ``joint``: one loss on what they say together.

    Reference: Kittler et al. 1998, "On combining classifiers", the sum rule (https://doi.org/10.1109/34.667881), here
    on logits.
    """

    revision: ClassVar[int] = 2
    name: ClassVar[str] = "logit-mean"

    def decide(self, logits: Tensor, there: Tensor) -> Tensor:
        """Mean logits: (B, V, C) to (B, C)."""
        return masked_mean(logits, there)
