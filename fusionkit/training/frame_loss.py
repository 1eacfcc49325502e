"""The loss of a batch as a mean over its frames, however the batch is cut into pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fusionkit.engine.losses import criterion
from fusionkit.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor


def frame_loss(recipe: Recipe, labels: Tensor, classes: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of a recipe, where each frame weighs the same in every batch.

    With balanced classes :func:`fusionkit.engine.losses.criterion` divides by the weights of its batch, so that the
    mean over processes or micro-batches would not be that of the whole batch. Here the sum is divided by the number of
    frames; over all training frames the mean weight is 1.

    Args:
        recipe: what the loss is.
        labels: (N,) int64 in 0..C-1: those of all training frames.
        classes: C.

    Returns:
        (logits (B, C), labels (B,)) to a scalar.
    """
    loss = criterion(recipe, labels, classes)
    if recipe.class_weights != "balanced":
        return loss
    counts = labels.bincount(minlength=classes).clamp(min=1)
    weight = (len(labels) / (classes * counts)).float()
    return lambda logits, truth: loss(logits, truth) * weight[truth].mean()
