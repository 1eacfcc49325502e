"""Which GPU a worker of this machine computes on: it is shown that one only, so ``cuda:0`` is always its own."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

FITS_A_GPU = 4  # heads are small: a few processes share a device better than one for each core would
_PATIENCE = 10.0  # s; the claim of a process that was killed is free as soon as the system has cleared it away

_held: list[IO[bytes]] = []


def gpus_of(device: str, visible: str | None, count: int) -> tuple[str, ...]:
    """The GPUs that a device stands for, each as ``CUDA_VISIBLE_DEVICES`` names it.

    Args:
        device: ``cpu``, ``cuda`` for all that are visible, ``cuda:1`` for one of them.
        visible: ``CUDA_VISIBLE_DEVICES`` of this process, or None if it is not set.
        count: how many devices this process sees.
    """
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return ()
    names = [name.strip() for name in visible.split(",")] if visible else [str(number) for number in range(count)]
    names = names[:count]
    return tuple(names) if not index else (names[int(index)],)


def visible_gpus(device: str) -> tuple[str, ...]:
    """:func:`gpus_of` this process."""
    if not device.startswith("cuda"):
        return ()
    import torch

    return gpus_of(device, os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())


def workers_on(gpus: tuple[str, ...], asked: int, cores: int, *, embedding: bool) -> int:
    """How many processes work at a time.

    Args:
        gpus: that they share; none on a CPU.
        asked: ``--workers``, 0 where it was not given.
        cores: of the machine.
        embedding: a backbone fills a GPU, so there is one process for each; heads share them.
    """
    if not gpus:
        return asked or cores
    if embedding:
        return min(asked, len(gpus)) if asked else len(gpus)
    return asked or min(cores, FITS_A_GPU * len(gpus))


def claim(desk: Path, workers: int, gpus: tuple[str, ...]) -> str:
    """The GPU of this process, for as long as it lives: places are dealt out to the GPUs in turn.

    A place is a locked file. The system gives it back when its holder dies, whatever kills it, so the process that
    comes instead of a lost one takes the same GPU.

    Args:
        desk: a folder that the workers share.
        workers: how many there are at a time.
        gpus: the GPUs.

    Raises:
        RuntimeError: if more processes ask than there are places.
    """
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for place in range(workers):
            file = (desk / f"gpu-{place}").open("a+b")
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            _held.append(file)
            return gpus[place % len(gpus)]
        time.sleep(0.05)
    raise RuntimeError(f"more than {workers} workers ask for a GPU")
