"""One optimiser step: learning rate, micro-batches, processes, precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fusionkit.errors import CellError, out_of_memory
from fusionkit.training.batches import Batch
from fusionkit.training.schedule import Schedule

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn
    from torch.optim import Optimizer

_DRAWS = 3  # torch's stream of random numbers in a step; those of batches are others


class Stepper:
    """Takes optimiser steps.

    Args:
        accelerator: processes and device.
        model: its forward takes the tensors of a batch and returns a scalar loss, the mean over the batch.
        optimizer: its groups may hold ``lr_scale``, a factor on the learning rate.
        schedule: the learning rate of each step.
        seed: of the model's random draws, such as dropout.
        clip: maximum norm of the gradient. Default: 0, no limit.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: Optimizer,
        schedule: Schedule,
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
            CellError: if the loss is not finite or memory runs out; the weights are then unchanged.
        """
        self._begin(step)
        try:
            value = self._gradients(batches)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise CellError(f"memory ran out at step {step}", hint="choose a larger run.accumulation") from error
        if not math.isfinite(value):
            raise CellError(f"the loss is {value} at step {step}", hint="choose a lower learning rate, or more warm-up")
        if self.clip:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return value

    def _gradients(self, batches: Sequence[Batch]) -> float:
        """Add the gradients of the micro-batches; return the mean loss."""
        share = 1 / len(batches)
        parts = []
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            # Processes exchange gradients once per step, with the last micro-batch.
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self.model(*(on_device(tensor, self.accelerator.device) for tensor in batch.tensors))
                self.accelerator.backward(loss * share)
            parts.append(loss.detach() * share)
        return float(self.accelerator.reduce(sum(parts[1:], parts[0]), "mean"))

    def _begin(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.at(step) * group.get("lr_scale", 1.0)
        # Random draws depend on the step alone, so checkpoints need no state of generators.
        sequence = np.random.SeedSequence([self.seed, _DRAWS, step, self.accelerator.process_index])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of a batch to a device, and bring it into the order of its axes there.

    From page-locked memory the copy overlaps with what the device computes. The memory may be written again once a
    result was waited for.
    """
    return tensor.to(device, non_blocking=True).contiguous()
