"""Losses: what a head is trained to lower, and how rare classes are made to count, as the recipe says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fusionkit.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 1e-30  # below it 1 - p counts as none: a power under 1 has no slope at 0


def criterion(recipe: Recipe, target: Tensor, num_classes: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The training loss of a recipe: the mean over a batch, each frame weighed by its class.

    A class without a training frame counts as if it had one.

    Args:
        recipe: ``loss``, ``focal_gamma``, ``label_smoothing``, ``logit_adjustment``, ``class_weights`` are read.
        target: (N,) int64 in 0..C-1: the training labels, which give class weights and the prior.
        num_classes: C.

    Returns:
        (logits (B, C), target (B,)) to a scalar >= 0, in nats.

    Reference:
        Focal loss: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equations 4 and 5, here divided by
        the sum of the batch's weights. Logit adjustment: Menon et al., Long-tail Learning via Logit Adjustment, ICLR
        2021, equation 10. Label smoothing: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016.
    """
    from torch.nn import functional

    counts = target.bincount(minlength=num_classes).clamp(min=1)
    weight = (len(target) / (num_classes * counts)).float() if recipe.class_weights == "balanced" else None
    shift = recipe.logit_adjustment * (counts / counts.sum()).log() if recipe.logit_adjustment else None

    def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
        return functional.cross_entropy(logits, truth, weight=weight, label_smoothing=recipe.label_smoothing)

    def focal(logits: Tensor, truth: Tensor) -> Tensor:
        surprise = functional.cross_entropy(logits, truth, reduction="none")
        doubt = (-(-surprise).expm1()).clamp(min=_SMALLEST)  # 1 - p of the true class, exact where p is near 1
        each = doubt**recipe.focal_gamma * surprise
        return each.mean() if weight is None else (weight[truth] * each).sum() / weight[truth].sum()

    loss = focal if recipe.loss == "focal" else cross_entropy
    if shift is None:
        return loss
    return lambda logits, truth: loss(logits + shift, truth)
