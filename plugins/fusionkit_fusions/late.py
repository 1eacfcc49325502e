"""Late fusions: a classifier per view, and a rule that combines their logits (Kittler et al. 1998)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusionkit.contracts.fusion import FusionOutput, Views
from fusionkit.contracts.option_types import Natural
from fusionkit_fusions.masked_fusion import MaskedFusion, masked_mean


class LateFusion(MaskedFusion):
    """Base: a classifier per view, each trained by its own loss; a subclass combines their logits.

    The loss is the sum of the contract's loss over the views' logits: each classifier learns as if trained alone. An
    absent view is left out; a frame without any view uses its main view's training mean.

    Args:
        hidden: width of a hidden layer in each classifier; 0 for a linear one.
    """

    examples = ({}, {"hidden": 8})

    def __init__(self, in_dims: dict[str, int], num_classes: int, hidden: Natural = 0) -> None:
        super().__init__(in_dims, num_classes)
        self.classifiers = nn.ModuleList([_classifier(dim, hidden, num_classes) for dim in in_dims.values()])

    def decide(self, logits: Tensor, visible: Tensor) -> Tensor:
        """Combine the classifiers' logits.

        Args:
            logits: (B, V, C).
            visible: (B, V) bool, at least one view a frame.

        Returns:
            (B, C).
        """
        raise NotImplementedError

    def fuse(self, views: Views, present: Views) -> FusionOutput:
        """Return the logits (B, C), and those of each view.

        Args:
            views: (B, D_v) a view.
            present: (B,) bool a view.
        """
        single = self.each(self.classifiers, views)
        logits = self.decide(torch.stack(single, 1), self.readable(present))
        return FusionOutput(logits=logits, view_logits=dict(zip(self.in_dims, single, strict=True)))

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """Return the sum of the views' own losses."""
        assert output.view_logits is not None
        losses = [self.criterion(logits, target) for logits in output.view_logits.values()]
        return torch.stack(losses).sum()


class FixedRuleFusion(LateFusion):
    """Base of late fusions by a fixed rule.

    Args:
        learn: ``separate``: each classifier is trained by its own loss. ``joint``: one loss on the combined logits.
    """

    examples = ({}, {"hidden": 8, "learn": "joint"})

    def __init__(
        self,
        in_dims: dict[str, int],
        num_classes: int,
        learn: Literal["separate", "joint"] = "separate",
        **options: Any,
    ) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.learn = learn

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """Return the sum of the views' own losses, or the loss of the combined logits."""
        if self.learn == "separate":
            return super().loss(output, target)
        assert output.logits is not None
        return self.criterion(output.logits, target)


class LogitMean(FixedRuleFusion):
    """A classifier per view; the logits of the views that are present are averaged.

    Each view's own logits are returned as ``view_logits``. A frame without any view has the logits of its main view's
    training mean. With ``learn="joint"`` and linear classifiers it equals a linear layer on the concatenation if no
    view is ever absent.

    Reference: Kittler et al. 1998, "On combining classifiers", the sum rule (https://doi.org/10.1109/34.667881), here
    on logits.
    """

    revision = 2

    def decide(self, logits: Tensor, visible: Tensor) -> Tensor:
        """Average logits: (B, V, C) to (B, C)."""
        return masked_mean(logits, visible)


class ProductOfExperts(FixedRuleFusion):
    """A classifier per view; the probabilities of the views that are present are multiplied.

    The logits are the sum of the views' log-probabilities, so one view that gives a class a probability near zero
    outweighs several that are uncertain.

    Reference: Hinton 2002, "Training Products of Experts by Minimizing Contrastive Divergence"
    (https://doi.org/10.1162/089976602760128018); the product rule of Kittler et al. 1998.
    """

    exclusive = True

    def decide(self, logits: Tensor, visible: Tensor) -> Tensor:
        """Sum log-probabilities: (B, V, C) to (B, C)."""
        return logits.log_softmax(2).masked_fill(~visible[..., None], 0.0).sum(1)


class MajorityVote(LateFusion):
    """A classifier per view; the class with most votes wins, and the mean probability decides between equals.

    The probability of a class is its share of votes, moved by at most a tenth of one vote by the mean probability, so
    that no class has probability zero and a smoother can still change the decision.

    Reference: Kittler et al. 1998, "On combining classifiers", the majority vote rule
    (https://doi.org/10.1109/34.667881); ties by mean probability are our reading.
    """

    exclusive = True

    def decide(self, logits: Tensor, visible: Tensor) -> Tensor:
        """Return the log of the shares of votes: (B, V, C) to (B, C)."""
        votes = functional.one_hot(logits.argmax(2), self.num_classes).to(logits.dtype)
        count = visible.sum(1, keepdim=True)
        shares = masked_mean(votes, visible) + 0.1 * masked_mean(logits.softmax(2), visible) / count
        return torch.log(shares.clamp(min=torch.finfo(shares.dtype).tiny))


class LogitWeights(LateFusion):
    """A classifier per view; their logits are summed with learned weights, a softmax of one number per view.

    The classifiers are trained by their own losses. The weights are trained by the loss of the combined logits, whose
    gradient does not reach the classifiers. Weights of the views that are present sum to one.

    Reference: Kittler et al. 1998, "On combining classifiers", the weighted sum rule
    (https://doi.org/10.1109/34.667881), here on logits with weights learned by gradient steps.
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int, **options: Any) -> None:
        super().__init__(in_dims, num_classes, **options)
        # A single view has all the weight: nothing to learn.
        self.scores = nn.Parameter(torch.zeros(len(in_dims))) if len(in_dims) > 1 else None

    def decide(self, logits: Tensor, visible: Tensor) -> Tensor:
        """Sum weighted logits: (B, V, C) to (B, C)."""
        if self.scores is None:
            return logits[:, 0]
        weights = self.scores.masked_fill(~visible, -torch.inf).softmax(1)
        return torch.einsum("bv,bvc->bc", weights, logits.detach() if self.training else logits)

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """Return the views' own losses plus that of the combined logits."""
        assert output.logits is not None
        own = super().loss(output, target)
        return own if self.scores is None else own + self.criterion(output.logits, target)


def _classifier(dim: int, hidden: int, classes: int) -> nn.Module:
    if not hidden:
        return nn.Linear(dim, classes)
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, classes))
