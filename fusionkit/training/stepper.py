"""One optimiser step, the same for every kind of training: learning rate, micro-batches, processes, precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionkit.errors import CellError, out_of_memory
from fusionkit.training.batches import Batch
from fusionkit.training.schedule import LearningRate

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn
    from torch.optim import Optimizer

_DRAWS = 3  # the stream of random numbers that torch draws in a step, apart from those of batches


class Stepper:
    """Takes optimiser steps.

    Args:
        accelerator: the processes and their devices.
        model: its forward takes the tensors of a batch and gives a scalar loss, a mean over the batch.
        optimizer: its groups may hold ``lr_scale``, a factor on the learning rate.
        schedule: the learning rate of each step.
        seed: of what the model draws in training, as in dropout.
        clip: greatest norm of the gradient; 0 for no limit.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: Optimizer,
        schedule: LearningRate,
        seed: int,
        clip: float = 0.0,
    ) -> None:
        self.accelerator = accelerator
        self.model: Any
        self.optimizer: Any
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.schedule = schedule
        self.seed = seed
        self.clip = clip

    def take(self, step: int, batches: Sequence[Batch]) -> float:
        """Take one step.

        Args:
            step: its number, from 0.
            batches: this process's micro-batches.

        Returns:
            The mean loss over all processes and micro-batches.

        Raises:
            CellError: if the loss is not finite or memory runs out; the weights are then as they were before the step.
        """
        self._begin(step)
        try:
            value = self._gradients(batches)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise CellError(f"memory ran out at step {step}", hint="a larger run.accumulation") from error
        if not math.isfinite(value):
            raise CellError(f"the loss is {value} at step {step}", hint="a lower learning rate, or more warm-up")
        if self.clip:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return value

    def _gradients(self, batches: Sequence[Batch]) -> float:
        """Add up the gradients of the micro-batches; the mean loss."""
        share = 1 / len(batches)
        parts = []
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            # Processes exchange gradients once a step, with the last micro-batch.
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self.model(*(tensor.to(self.accelerator.device) for tensor in batch.tensors))
                self.accelerator.backward(loss * share)
            parts.append(loss.detach() * share)
        return float(self.accelerator.reduce(sum(parts[1:], parts[0]), "mean"))

    def _begin(self, step: int) -> None:
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.at(step) * group.get("lr_scale", 1.0)
        # What a step draws depends on the step alone, so that no state of generators need be kept.
        drawn = np.random.SeedSequence([self.seed, _DRAWS, step, self.accelerator.process_index])
        torch.manual_seed(int(drawn.generate_state(1, np.uint64)[0]))
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
