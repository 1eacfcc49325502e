"""What is fine-tuned: a network with its normalisation and loss, in the form that a :class:`Stepper` takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fusionkit.training.joint import ViewNetwork


class Classifier(nn.Module):
    """Normalises images, and gives logits, or the loss on a batch.

    Args:
        network: normalised images to logits.
        mean: per RGB channel, of values scaled to 0..1.
        std: likewise.
        criterion: logits (B, C) and labels (B,) to a scalar.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: ViewNetwork,
        mean: Sequence[float],
        std: Sequence[float],
        criterion: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, *tensors: Tensor) -> Tensor:
        """The loss of (B, 3, H, W) uint8 a view, and labels (B,)."""
        *views, labels = tensors
        return self.criterion(self.logits(views), labels)

    def logits(self, views: Sequence[Tensor]) -> Tensor:
        """(B, C) of (B, 3, H, W) uint8 a view."""
        found: Tensor = self.network([self.normalized(view) for view in views])
        return found

    def normalized(self, view: Tensor) -> Tensor:
        """(B, 3, H, W) float32."""
        return (view.float() / 255 - self.mean) / self.std
