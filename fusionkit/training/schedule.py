"""The learning rate of each step: what a schedule is, and the usual one: linear warm-up, then half a cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class LearningRate(Protocol):
    """A schedule."""

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""


@dataclass(frozen=True)
class Schedule:
    """Rises from 0 in a line, then falls along half a cosine.

    Attributes:
        peak: the learning rate at the end of the warm-up.
        steps: optimiser steps in all.
        warmup: steps of warm-up, below ``steps``.
        floor: what the cosine falls to.

    Reference:
        Loshchilov and Hutter, SGDR, ICLR 2017; per step, as He et al., Masked Autoencoders, arXiv:2111.06377, train.
    """

    peak: float
    steps: int
    warmup: int = 0
    floor: float = 0.0

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.peak * step / self.warmup
        done = (step - self.warmup) / (self.steps - self.warmup)
        return self.floor + (self.peak - self.floor) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class StepDecay:
    """Multiplied by a factor every so many optimiser steps.

    Attributes:
        peak: the learning rate of the start.
        every: optimiser steps between two falls.
        factor: what each multiplies it by.

    Reference:
        ``StepLR`` of PyTorch; the released code of Nguyen et al., Emotic Masked Autoencoder on Dual-views (CVPR
        Workshops 2024), uses it with one fall, after 16 of 20 epochs.
    """

    peak: float
    every: int
    factor: float

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.peak * self.factor ** (step // self.every)
