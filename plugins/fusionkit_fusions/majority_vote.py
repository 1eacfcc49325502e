"""Late fusion by voting: each classifier has one vote."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fusionkit_fusions.late import LateFusion
from fusionkit_fusions.presence import masked_mean


class MajorityVote(LateFusion):
    """A classifier per view; the class with most votes wins, and the mean probability decides between equals.

    The probability of a class is its share of votes, moved by at most a tenth of one vote by the mean probability, so
    that every class keeps some and a smoother has something to work on.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        hidden: width of a hidden layer in each classifier; 0 for a linear one.

    Reference: Kittler et al. 1998, "On combining classifiers", the majority vote rule
    (https://doi.org/10.1109/34.667881); ties by mean probability are our reading.
    """

    name: ClassVar[str] = "majority-vote"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"hidden": 8})

    def __init__(self, in_dims: dict[str, int], num_classes: int, hidden: int = 0) -> None:
        super().__init__(in_dims, num_classes, hidden)

    def decide(self, logits: Tensor, there: Tensor) -> Tensor:
        """Log of the shares of votes: (B, V, C) to (B, C)."""
        votes = functional.one_hot(logits.argmax(2), self.num_classes).to(logits.dtype)
        heard = there.sum(1, keepdim=True)
        shares = masked_mean(votes, there) + 0.1 * masked_mean(logits.softmax(2), there) / heard
        return torch.log(shares.clamp(min=torch.finfo(shares.dtype).tiny))
