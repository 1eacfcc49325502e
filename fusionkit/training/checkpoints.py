"""Checkpoints of a training run: weights, optimiser state and losses, so that a resumed run continues bit for bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionkit.errors import DataError
from fusionkit.storage.artifact import read_artifact, write_artifact

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

KEPT = 2  # the newest, and the one before it in case the newest is damaged
_PREFIX = "step-"
_TENSORS, _NOTES = "tensors.safetensors", "notes.json"
_OPTIMIZER = "optimizer."


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A saved state.

    Attributes:
        step: optimiser steps done.
        tensors: by name, on the CPU.
        notes: plain data.
        damaged: paths of newer checkpoints that are damaged.
    """

    step: int
    tensors: dict[str, Tensor]
    notes: dict[str, Any]
    damaged: list[str] = field(default_factory=list)


class Checkpoints:
    """The checkpoints of one run: a folder each, written atomically; the last two are kept.

    A thread writes them while training goes on, one at a time.

    Args:
        folder: holds the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thread = ThreadPoolExecutor(1, "fusionkit-checkpoint")
        self._writing: Future[None] | None = None

    def save(self, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Copy the state, which may change afterwards, and begin to write it. Wait for the checkpoint before it.

        Raises:
            StorageError: if the checkpoint before it could not be written.
        """
        self.finish()
        # Safetensors keeps no strides.
        flat = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        self._writing = self._thread.submit(self._write, step, flat, json.dumps(dict(notes)).encode())

    def finish(self) -> None:
        """Wait until the newest checkpoint is written.

        Raises:
            StorageError: if it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, step: int, tensors: dict[str, Tensor], notes: bytes) -> None:
        """Write a checkpoint, and remove all but the last two."""
        from safetensors.torch import save

        files = {_TENSORS: save(tensors), _NOTES: notes}
        write_artifact(self.folder / f"{_PREFIX}{step:09d}", files, {"step": step})
        kept = set(self._paths()[:KEPT])
        for path in self.folder.iterdir():  # hidden ones are partial files of a killed process
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def latest(self) -> Checkpoint | None:
        """Return the newest undamaged checkpoint; None if there is no checkpoint.

        Raises:
            DataError: if every checkpoint is damaged.
            StorageError: if the newest could not be written.
        """
        from safetensors.torch import load

        self.finish()
        damaged: list[str] = []
        for path in self._paths():
            files = read_artifact(path)
            if files is not None:
                step = int(path.name.removeprefix(_PREFIX))
                return Checkpoint(step, load(files[_TENSORS]), json.loads(files[_NOTES]), damaged)
            damaged.append(str(path))
        if damaged:
            raise DataError(
                f"every checkpoint in {self.folder} is damaged: {', '.join(damaged)}",
                hint=f"delete {self.folder} to train from the start",
            )
        return None

    def _paths(self) -> list[Path]:
        """Return the folders of the checkpoints, newest first."""
        return sorted((path for path in self.folder.glob(f"{_PREFIX}*") if path.is_dir()), reverse=True)


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with a prefix before each name."""
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names have a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser, as ``optimizer.<number of the parameter>.<name>``.

    Learning rates and other options are left out: they follow from the config.
    """
    import torch

    return {
        f"{_OPTIMIZER}{number}.{name}": torch.as_tensor(value)
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state of an optimiser; other tensors are ignored.

    Raises:
        DataError: if the state is of another number of parameters.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in without_prefix(_OPTIMIZER, tensors).items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    numbers = {number for group in groups for number in group["params"]}
    if state and set(state) != numbers:
        raise DataError(f"the checkpoint holds optimiser state of {len(state)} parameters; expected {len(numbers)}")
    optimizer.load_state_dict({"state": state, "param_groups": groups})
