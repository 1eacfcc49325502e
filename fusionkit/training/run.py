"""One process's part of a training run, the same for both stages: claim the folder, resume, train, save checkpoints."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusionkit.errors import ConfigError
from fusionkit.storage.lease import lease
from fusionkit.training.batches import Batches
from fusionkit.training.checkpoints import (
    Checkpoint,
    Checkpoints,
    optimizer_tensors,
    restore_optimizer,
    with_prefix,
    without_prefix,
)
from fusionkit.training.processes import RunSection
from fusionkit.training.progress import TrainingProgress
from fusionkit.training.run_folder import TrainingFolder, loss_log
from fusionkit.training.stepper import Stepper

_MODEL, _LOSSES = "model.", "losses"


class TrainingRun(ABC):
    """A run that resumes from its newest checkpoint and ends with the same bits as an uninterrupted run.

    Args:
        folder: of the run.
        network: the module that checkpoints save.
        stepper: takes the optimiser steps.
        batches: of this process.
        epochs: number of epochs.
        options: the ``run`` section of the config.

    Attributes:
        main: whether this process writes the files.
        steps: optimiser steps in all.
        step: optimiser steps done.
        losses: of every step done.
        seconds: spent on training.
        notes: warnings for the user.
    """

    def __init__(
        self,
        folder: Path,
        network: nn.Module,
        stepper: Stepper,
        batches: Batches,
        epochs: int,
        options: RunSection,
    ) -> None:
        self.folder = TrainingFolder(folder)
        self.network = network
        self.stepper = stepper
        self.batches = batches
        self.options = options
        self.accelerator = stepper.accelerator
        self.main = self.accelerator.is_main_process
        self.steps = epochs * batches.steps_per_epoch
        self.step = 0
        self.losses: list[float] = []
        self.seconds = 0.0
        self.notes: list[str] = []
        self._checkpoints = Checkpoints(self.folder.checkpoints)

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what decides the weights, as plain data."""

    @abstractmethod
    def end_epoch(self, epoch: int, progress: TrainingProgress) -> None:
        """Called after each epoch, counted from 1, before its checkpoint is written."""

    def extra_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what else a checkpoint holds: tensors by name, and plain data. Default: nothing."""
        return {}, {}

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder's lease, so that no other process trains in it.

        Raises:
            ConfigError: if another process holds it.
        """
        if not self.main:
            yield
            return
        with lease(self.folder.lease) as mine:
            if not mine:
                raise ConfigError(f"another process is training in {self.folder.path}", hint="choose another --out")
            yield

    def resume(self, provenance: dict[str, Any]) -> Checkpoint | None:
        """Write ``config.json``, and restore and return the newest checkpoint, if there is one."""
        if self.main:
            start = {
                "device": str(self.accelerator.device),
                "mixed_precision": self.accelerator.mixed_precision,
                "processes": self.accelerator.num_processes,
                "run": self.options.describe(),
                **provenance,
            }
            self.folder.begin(self.identity(), start)
        self.accelerator.wait_for_everyone()
        checkpoint = self._checkpoints.latest()
        if checkpoint is not None:
            self.network.load_state_dict(without_prefix(_MODEL, checkpoint.tensors))
            restore_optimizer(self.stepper.optimizer, checkpoint.tensors)
            self.batches.unreadable.update(checkpoint.notes["unreadable"])
            self.step = checkpoint.step
            self.losses = checkpoint.tensors[_LOSSES].tolist()
            self.seconds = checkpoint.notes["seconds"]
            self.notes = [f"{path} is damaged; resumed from the checkpoint before it" for path in checkpoint.damaged]
        return checkpoint

    def train(self, progress: TrainingProgress) -> None:
        """Take the remaining steps."""
        per_epoch, first = self.batches.steps_per_epoch, self.step
        path = self.folder.losses if self.main else None
        batches_of_steps = self.batches.steps(first, self.steps)
        began = time.monotonic() - self.seconds
        with (
            loss_log(path, self.stepper.schedule, per_epoch, self.losses) as add_loss,
            progress.stage("train", self.steps - first, "steps"),
            _finished(self._checkpoints),
        ):
            for step, batches in enumerate(batches_of_steps, start=first):
                add_loss(self.stepper.take(step, batches))
                self.step = step + 1
                epoch_ends = self.step % per_epoch == 0
                if epoch_ends:
                    self.end_epoch(self.step // per_epoch, progress)
                if epoch_ends or self.step % self.options.save_every == 0:
                    self.seconds = time.monotonic() - began
                    self._save()
                progress.stepped(self.step, step // per_epoch + 1, self.losses[-1])
                progress.advance()

    def _save(self) -> None:
        """Begin to write a checkpoint."""
        from accelerate.utils import gather_object

        self.batches.unreadable.update(gather_object(sorted(self.batches.unreadable)))
        if not self.main:
            return
        tensors, notes = self.extra_state()
        tensors |= with_prefix(_MODEL, self.network.state_dict())
        tensors |= optimizer_tensors(self.stepper.optimizer)
        tensors[_LOSSES] = torch.tensor(self.losses, dtype=torch.float64)
        notes |= {"unreadable": sorted(self.batches.unreadable), "seconds": self.seconds}
        self._checkpoints.save(self.step, tensors, notes)


@contextmanager
def _finished(checkpoints: Checkpoints) -> Iterator[None]:
    """Wait for the newest checkpoint in the end, also when training was interrupted."""
    try:
        yield
    finally:
        checkpoints.finish()
