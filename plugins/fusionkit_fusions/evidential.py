"""Evidential late fusion: opinions with their own uncertainty, joined by the rule of Dempster and Shafer."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fusionkit.contracts import FusionOutput, require_count
from fusionkit_fusions.late import LateFusion


class Evidential(LateFusion):
    """Trusted multi-view classification: each view forms an opinion, and opinions are combined by their certainty.

    A view's evidence is ``e = softplus(logits)``; its Dirichlet has ``alpha = e + 1`` and ``S = sum of alpha``, its
    belief is ``b = e / S`` and its uncertainty ``u = C / S``. Two opinions give
    ``b = (b1 b2 + b1 u2 + b2 u1) / (1 - K)`` and ``u = u1 u2 / (1 - K)``, K their conflict, the sum of ``b1_i b2_j``
    over i != j. The logits are the log of the joint opinion's expected probabilities.

    The loss, of each view and of the joint opinion, is ``digamma(S) - digamma(alpha_y)`` plus an annealed divergence
    from the flat Dirichlet of ``y + (1 - y) * alpha``, the evidence for wrong classes alone. The recipe's class weights
    do not enter it.

    Args:
        in_dims: width of each view's embedding, main view first.
        num_classes: C.
        hidden: width of a hidden layer in each classifier; 0 for a linear one.
        annealing: steps after which the divergence has its full weight.

    Reference: Han et al. 2021, "Trusted Multi-View Classification", equations 2-11 (https://arxiv.org/abs/2102.02051).
    The divergence is taken as the paper writes it; ports that take it of alpha itself punish right evidence too.
    """

    name: ClassVar[str] = "evidential"
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"hidden": 8, "annealing": 1})

    def __init__(self, in_dims: dict[str, int], num_classes: int, hidden: int = 0, annealing: int = 500) -> None:
        super().__init__(in_dims, num_classes, hidden)
        require_count("evidential: annealing", annealing)
        self.annealing = annealing
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def decide(self, logits: Tensor, there: Tensor) -> Tensor:
        """Log of expected probabilities: (B, V, C) to (B, C)."""
        # No evidence at all: joined with another opinion it changes nothing.
        evidence = functional.softplus(logits).masked_fill(~there[..., None], 0.0)
        alpha = evidence[:, 0] + 1
        for view in range(1, evidence.shape[1]):
            alpha = joined(alpha, evidence[:, view] + 1)
        return torch.log(alpha / alpha.sum(1, keepdim=True))

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """The evidential losses of the views and of the joint opinion."""
        assert output.view_logits is not None
        if self.training:
            self.steps += 1
        weight = min(1.0, float(self.steps) / self.annealing)
        alphas = [functional.softplus(logits) + 1 for logits in output.view_logits.values()]
        joint = alphas[0]
        for alpha in alphas[1:]:
            joint = joined(joint, alpha)
        return torch.stack([evidential_loss(alpha, target, weight) for alpha in [*alphas, joint]]).sum()


def joined(one: Tensor, other: Tensor) -> Tensor:
    """The Dirichlet (B, C) of two opinions, each given as its Dirichlet, by Dempster's rule."""
    classes = one.shape[1]
    strengths = one.sum(1, keepdim=True), other.sum(1, keepdim=True)
    beliefs = (one - 1) / strengths[0], (other - 1) / strengths[1]
    unsure = classes / strengths[0], classes / strengths[1]
    agreed = beliefs[0] * beliefs[1]
    left = 1 - (beliefs[0].sum(1, keepdim=True) * beliefs[1].sum(1, keepdim=True) - agreed.sum(1, keepdim=True))
    belief = (agreed + beliefs[0] * unsure[1] + beliefs[1] * unsure[0]) / left
    uncertainty = unsure[0] * unsure[1] / left
    return belief * classes / uncertainty + 1


def evidential_loss(alpha: Tensor, target: Tensor, weight: float) -> Tensor:
    """Expected cross-entropy under the Dirichlet, and ``weight`` times the divergence of its wrong evidence."""
    strength = alpha.sum(1)
    right = alpha.gather(1, target[:, None]).squeeze(1)
    wrong = alpha.scatter(1, target[:, None], 1.0)
    flat = torch.distributions.Dirichlet(torch.ones_like(wrong), validate_args=False)
    divergence = torch.distributions.kl_divergence(torch.distributions.Dirichlet(wrong, validate_args=False), flat)
    return (torch.digamma(strength) - torch.digamma(right) + weight * divergence).mean()
