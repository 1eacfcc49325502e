"""Evidential late fusion: opinions with their own uncertainty, combined by the rule of Dempster and Shafer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fusionkit.contracts import FusionOutput
from fusionkit.contracts.option_types import Count
from fusionkit_fusions.late import LateFusion


class Evidential(LateFusion):
    """Trusted multi-view classification: each view forms an opinion, and opinions are combined by their certainty.

    A view's evidence is ``e = softplus(logits)``; its Dirichlet has ``alpha = e + 1`` and ``S = sum of alpha``, its
    belief is ``b = e / S`` and its uncertainty ``u = C / S``. Two opinions give
    ``b = (b1 b2 + b1 u2 + b2 u1) / (1 - K)`` and ``u = u1 u2 / (1 - K)``, K their conflict, the sum of ``b1_i b2_j``
    over i != j. The logits are the log of the joint opinion's expected probabilities.

    The loss, of each view and of the joint opinion, is ``digamma(S) - digamma(alpha_y)`` plus an annealed divergence
    from the flat Dirichlet of ``y + (1 - y) * alpha``, the evidence for wrong classes alone. The class weights of the
    training recipe are not used.

    Args:
        annealing: steps until the divergence has its full weight.

    Reference: Han et al. 2021, "Trusted Multi-View Classification", equations 2-11 (https://arxiv.org/abs/2102.02051).
    The divergence follows the paper; implementations that take it of alpha itself penalise right evidence too.
    """

    exclusive = True

    examples = ({}, {"hidden": 8, "annealing": 1})

    def __init__(self, in_dims: dict[str, int], num_classes: int, annealing: Count = 500, **options: Any) -> None:
        super().__init__(in_dims, num_classes, **options)
        self.annealing = annealing
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def decide(self, logits: Tensor, visible: Tensor) -> Tensor:
        """Return the log of expected probabilities: (B, V, C) to (B, C)."""
        # Without evidence, an opinion does not change another one that it is combined with.
        evidence = functional.softplus(logits).masked_fill(~visible[..., None], 0.0)
        alpha = combined([evidence[:, view] + 1 for view in range(evidence.shape[1])])
        return torch.log(alpha / alpha.sum(1, keepdim=True))

    def loss(self, output: FusionOutput, target: Tensor) -> Tensor:
        """Return the sum of the evidential losses of the views and of the joint opinion."""
        assert output.view_logits is not None
        if self.training:
            self.steps += 1
        weight = (self.steps / self.annealing).clamp(max=1.0)  # a tensor: reading it would wait for a GPU
        target = target if target.ndim == 1 else target.argmax(1)  # of votes, their majority
        alphas = [functional.softplus(logits) + 1 for logits in output.view_logits.values()]
        return torch.stack([evidential_loss(alpha, target, weight) for alpha in [*alphas, combined(alphas)]]).sum()


def combined(alphas: list[Tensor]) -> Tensor:
    """Return the Dirichlet (B, C) of opinions, each given as its Dirichlet, by Dempster's rule."""
    joint = alphas[0]
    for alpha in alphas[1:]:
        joint = _pair(joint, alpha)
    return joint


def _pair(one: Tensor, other: Tensor) -> Tensor:
    classes = one.shape[1]
    strengths = one.sum(1, keepdim=True), other.sum(1, keepdim=True)
    beliefs = (one - 1) / strengths[0], (other - 1) / strengths[1]
    uncertain = classes / strengths[0], classes / strengths[1]
    agreed = beliefs[0] * beliefs[1]
    left = 1 - (beliefs[0].sum(1, keepdim=True) * beliefs[1].sum(1, keepdim=True) - agreed.sum(1, keepdim=True))
    belief = (agreed + beliefs[0] * uncertain[1] + beliefs[1] * uncertain[0]) / left
    uncertainty = uncertain[0] * uncertain[1] / left
    return belief * classes / uncertainty + 1


def evidential_loss(alpha: Tensor, target: Tensor, weight: Tensor | float) -> Tensor:
    """Return the expected cross-entropy under the Dirichlet plus ``weight`` times the divergence of wrong evidence."""
    strength = alpha.sum(1)
    right = alpha.gather(1, target[:, None]).squeeze(1)
    wrong = alpha.scatter(1, target[:, None], 1.0)
    flat = torch.distributions.Dirichlet(torch.ones_like(wrong), validate_args=False)
    divergence = torch.distributions.kl_divergence(torch.distributions.Dirichlet(wrong, validate_args=False), flat)
    return (torch.digamma(strength) - torch.digamma(right) + weight * divergence).mean()
