"""Execution of a training run: its options, and its processes and devices, through accelerate."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionkit.config.section import Section
from fusionkit.contracts.backbone import has_native_bfloat16
from fusionkit.contracts.option_types import Count, Natural, Workers
from fusionkit.errors import extra

if TYPE_CHECKING:
    from accelerate import Accelerator

_LAUNCHERS = ("OMPI_COMM_WORLD", "PMI", "MV2_COMM_WORLD")  # prefixes of the variables that MPI sets
_MIXED = {"float32": "no", "bfloat16": "bf16"}


@dataclass(frozen=True)
class RunSection(Section):
    """Execution options. They change the weights by rounding only.

    Args:
        accumulation: micro-batches per step; more need less memory.
        save_every: steps between checkpoints; one is also written after each epoch.
        workers: worker processes per training process, which read and crop images; 0: one per core that no training
            process uses, at least 2 and at most 16. Threads on Windows and macOS, by default 2.
        cache_mb: megabytes per training process for decoded images; 0: none are kept.
    """

    accumulation: Count = 1
    save_every: Count = 500
    workers: Workers = 0
    cache_mb: Natural = 512

    def workers_of(self, accelerator: Accelerator) -> int:
        """Return the number of workers of a training process."""
        from fusionkit.training.loader import workers_here

        return self.workers or workers_here(_from("LOCAL_WORLD_SIZE", default=accelerator.num_processes))


def start_processes(device: str, precision: str) -> Accelerator:
    """Return this process's accelerator, for one process or several.

    Args:
        device: ``cpu``, ``mps`` or ``cuda:N``; each of several processes uses its own card.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on cards with native bfloat16.

    Raises:
        ConfigError: if accelerate is not installed.
    """
    import torch

    with extra("train", "training"):
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState

    on_card = device.startswith("cuda")
    if precision == "auto":
        precision = "bfloat16" if on_card and has_native_bfloat16(device) else "float32"
    if not is_launched():
        # Accelerate would keep the settings of a process's first run for all later ones, as in a notebook.
        AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
        if on_card:
            torch.cuda.set_device(torch.device(device).index or 0)  # "cuda" alone names no card
    return Accelerator(cpu=device == "cpu", mixed_precision=_MIXED[precision])


def is_launched() -> bool:
    """Return whether ``torchrun``, ``accelerate launch`` or MPI started this process."""
    return "LOCAL_RANK" in os.environ or _from(*(f"{launcher}_SIZE" for launcher in _LAUNCHERS), default=1) > 1


def is_main_process() -> bool:
    """Return whether this process writes to the terminal and scores: rank 0."""
    return _from(*(f"{launcher}_RANK" for launcher in _LAUNCHERS), "RANK", default=0) == 0


def _from(*names: str, default: int) -> int:
    return next((int(os.environ[name]) for name in names if name in os.environ), default)
