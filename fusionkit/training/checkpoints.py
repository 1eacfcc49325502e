"""Checkpoints of a training run: weights, optimiser and history, so that a run goes on as if it had never stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionkit.errors import DataError
from fusionkit.storage.artifact import read_artifact, write_artifact

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


_STATE_PREFIX = "optimizer."


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimiser remembers of each parameter, as ``optimizer.<number of the parameter>.<what>``.

    Learning rates and other options are not in it: they follow from the config.
    """
    import torch

    return {
        f"{_STATE_PREFIX}{number}.{name}": torch.as_tensor(value)
        for number, memory in optimizer.state_dict()["state"].items()
        for name, value in memory.items()
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser its memory back; other tensors are passed over.

    Raises:
        DataError: if they are of other parameters than the optimiser's.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(_STATE_PREFIX):
            number, _, name = key.removeprefix(_STATE_PREFIX).partition(".")
            state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    numbers = {number for group in groups for number in group["params"]}
    if state and set(state) != numbers:
        raise DataError(f"the checkpoint holds the optimiser of {len(state)} parameters, not of {len(numbers)}")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


KEPT = 2  # the newest, and the one before in case the newest is damaged
_PREFIX = "step-"
_TENSORS, _NOTES = "tensors.safetensors", "notes.json"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What was saved.

    Attributes:
        step: optimiser steps that were done.
        tensors: by name, on the CPU.
        notes: plain data.
        damaged: newer checkpoints that could not be read and were passed over.
    """

    step: int
    tensors: dict[str, Tensor]
    notes: dict[str, Any]
    damaged: list[str] = field(default_factory=list)


class Checkpoints:
    """The checkpoints of one run: a folder each, written whole or not at all; the last two are kept.

    Args:
        folder: holds them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Write a checkpoint, and remove those that it makes superfluous.

        Raises:
            StorageError: if it cannot be written.
        """
        from safetensors.torch import save

        # Safetensors keeps no strides.
        flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        files = {_TENSORS: save(flat), _NOTES: json.dumps(dict(notes)).encode()}
        write_artifact(self.folder / f"{_PREFIX}{step:09d}", files, {"step": step})
        self._prune()

    def latest(self) -> Checkpoint | None:
        """The newest that is whole; None where there is none.

        Raises:
            DataError: if there are checkpoints but every one is damaged.
        """
        from safetensors.torch import load

        damaged: list[str] = []
        for path in self._paths():
            files = read_artifact(path)
            if files is not None:
                step = int(path.name.removeprefix(_PREFIX))
                return Checkpoint(step, load(files[_TENSORS]), json.loads(files[_NOTES]), damaged)
            damaged.append(str(path))
        if damaged:
            raise DataError(
                f"no checkpoint in {self.folder} is whole: {', '.join(damaged)}",
                hint=f"delete {self.folder} to begin anew",
            )
        return None

    def _paths(self) -> list[Path]:
        """Newest first."""
        return sorted((path for path in self.folder.glob(f"{_PREFIX}*") if path.is_dir()), reverse=True)

    def _prune(self) -> None:
        kept = set(self._paths()[:KEPT])
        for path in self.folder.iterdir():  # hidden ones are what a killed process left half-written
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)
