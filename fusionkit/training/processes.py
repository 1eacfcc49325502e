"""The processes and devices of a training run, through accelerate."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fusionkit.contracts.backbone import has_native_bfloat16

if TYPE_CHECKING:
    from accelerate import Accelerator

_LAUNCHERS = ("OMPI_COMM_WORLD", "PMI", "MV2_COMM_WORLD")  # how kinds of MPI name their processes
_MIXED = {"float32": "no", "bfloat16": "bf16"}


def start_processes(device: str, precision: str) -> Accelerator:
    """This process's part of the run, whether it was started alone or among several.

    Args:
        device: ``cpu``, ``cuda:N``; with several processes each takes its own card.
        precision: ``float32``, ``bfloat16``, or ``auto``: bfloat16 on graphics cards that compute in it.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    on_card = device.startswith("cuda")
    if precision == "auto":
        precision = "bfloat16" if on_card and has_native_bfloat16(device) else "float32"
    if not is_launched():
        # Accelerate keeps the choices of the first run of a process for all that follow, as in a notebook.
        AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
        if on_card:
            torch.cuda.set_device(device)
    return Accelerator(cpu=not on_card, mixed_precision=_MIXED[precision])


def is_launched() -> bool:
    """Whether this is one of several processes, started by ``torchrun``, ``accelerate launch`` or MPI."""
    return "LOCAL_RANK" in os.environ or _from(*(f"{launcher}_SIZE" for launcher in _LAUNCHERS), default=1) > 1


def speaks() -> bool:
    """Whether this process is the one that talks to the user."""
    return _from(*(f"{launcher}_RANK" for launcher in _LAUNCHERS), "RANK", default=0) == 0


def _from(*names: str, default: int) -> int:
    return next((int(os.environ[name]) for name in names if name in os.environ), default)
