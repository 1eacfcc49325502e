"""Losses of class labels: cross-entropy and focal loss, with weights and logit adjustment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fusionkit.contracts import LossOptions

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 1e-30  # least 1 - p in the focal loss: a power below 1 has no slope at 0


def class_loss(target: Tensor, classes: int, options: LossOptions) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss of exclusive classes: the mean over a batch, each frame weighted by its class.

    A class without a training frame counts as if it had one.

    Args:
        target: (N,) int64 in 0..C-1: the training labels, for class weights and the prior.
        classes: C.
        options: of the recipe.

    Returns:
        (logits (B, C), target (B,)) to a scalar >= 0, in nats.

    Reference:
        Focal loss: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equations 4 and 5, here divided by
        the sum of the batch's weights. Logit adjustment: Menon et al., Long-tail Learning via Logit Adjustment, ICLR
        2021, equation 10. Label smoothing: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016.
    """
    from torch.nn import functional

    counts = target.bincount(minlength=classes).clamp(min=1)
    weight = (len(target) / (classes * counts)).float() if options.class_weights == "balanced" else None
    shift = options.logit_adjustment * (counts / counts.sum()).log() if options.logit_adjustment else None

    def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
        return functional.cross_entropy(logits, truth, weight=weight, label_smoothing=options.label_smoothing)

    def focal(logits: Tensor, truth: Tensor) -> Tensor:
        surprise = functional.cross_entropy(logits, truth, reduction="none")
        each = focal_factor(surprise, options.focal_gamma) * surprise
        return each.mean() if weight is None else (weight[truth] * each).sum() / weight[truth].sum()

    loss = focal if options.loss == "focal" else cross_entropy
    if shift is None:
        return loss
    return lambda logits, truth: loss(logits + shift, truth)


def focal_factor(surprise: Tensor, gamma: float) -> Tensor:
    """Return (1 - p)**gamma from the surprise -log p >= 0 of the true class; exact where p is near 1."""
    return (-(-surprise).expm1()).clamp(min=_SMALLEST) ** gamma
