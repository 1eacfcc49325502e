"""Stacking as a network, for ``fusionkit export``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn


class StackingNetwork(nn.Module):
    """A logistic regression per view, and one on their log-probabilities.

    Args:
        stages: weights (C, D) and biases (C,) by view, in order, then of the second stage.
    """

    def __init__(self, stages: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_linear(*stage) for stage in stages.values()])
        self.views = tuple(stages)[:-1]

    def forward(self, views: dict[str, Tensor]) -> Tensor:
        """Return the probabilities (N, C) of views (N, D_v)."""
        *first, second = self.stages
        log_probs = [stage(views[name].double()).log_softmax(1) for name, stage in zip(self.views, first, strict=True)]
        return second(torch.cat(log_probs, 1)).softmax(1)


def _linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], len(weight), dtype=torch.float64)
    layer.weight.data, layer.bias.data = torch.from_numpy(weight.copy()), torch.from_numpy(bias.copy())
    return layer
