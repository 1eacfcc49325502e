"""The network behind the learned temporal head: dilated convolutions over the frames of a clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TemporalNet(nn.Module):
    """Corrections of the logits of each frame, from the frames around it.

    Layer n looks ``2^n`` frames to either side, so that L layers together see ``2^L - 1``. The last layer starts at
    zero: before training, nothing is corrected.

    Args:
        inputs: F, features a frame.
        classes: C.
        channels: width of the hidden layers.
        layers: L.
    """

    def __init__(self, inputs: int, classes: int, channels: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(inputs, channels, 1)
        self.look = nn.ModuleList(
            [nn.Conv1d(channels, channels, 3, padding=2**layer, dilation=2**layer) for layer in range(layers)]
        )
        self.mix = nn.ModuleList([nn.Conv1d(channels, channels, 1) for _ in range(layers)])
        self.leave = nn.Conv1d(channels, classes, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features: Tensor, there: Tensor) -> Tensor:
        """Corrections.

        Args:
            features: (B, F, T).
            there: (B, 1, T) 1 for a frame, 0 for padding, which then counts as what lies beyond a clip's end.

        Returns:
            (B, C, T).
        """
        hidden = self.enter(features) * there
        for look, mix in zip(self.look, self.mix, strict=True):
            hidden = (hidden + mix(torch.relu(look(hidden)))) * there
        corrections: Tensor = self.leave(hidden)
        return corrections
