"""A learning rate that falls by steps."""

from __future__ import annotations

from dataclasses import dataclass


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
