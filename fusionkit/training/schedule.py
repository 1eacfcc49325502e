"""Learning-rate schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """The learning rate of each step."""

    def at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up from 0, then half a cosine.

    Attributes:
        peak: the learning rate at the end of the warm-up.
        steps: optimiser steps in all.
        warmup: steps of warm-up, below ``steps``.
        floor: the learning rate at the end of the cosine.

    Reference:
        Loshchilov and Hutter, SGDR, ICLR 2017; per step, as He et al., Masked Autoencoders, arXiv:2111.06377, train.
    """

    peak: float
    steps: int
    warmup: int = 0
    floor: float = 0.0

    def at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.peak * step / self.warmup
        done = (step - self.warmup) / (self.steps - self.warmup)
        return self.floor + (self.peak - self.floor) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class StepDecay:
    """Multiplication by a factor after every ``every`` optimiser steps.

    Attributes:
        peak: the initial learning rate.
        every: optimiser steps between two reductions.
        factor: of each reduction.

    Reference:
        ``StepLR`` of PyTorch; the released code of Nguyen et al., Emotic Masked Autoencoder on Dual-views (CVPR
        Workshops 2024), uses it with one reduction, after 16 of 20 epochs.
    """

    peak: float
    every: int
    factor: float

    def at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return self.peak * self.factor ** (step // self.every)
