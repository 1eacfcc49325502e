"""How much memory the features of one head may take before they are read from disk batch by batch."""

from __future__ import annotations

import os
from functools import lru_cache

from fusionkit.grid.memory import GIB, available_memory, ceiling

_SHARE = 4  # a quarter of what is available: the rest is for copies that plugins make, for mapped files, for others
_UNKNOWN = 2 * GIB  # where the system does not tell what is available


@lru_cache
def feature_limit(given: float, workers: int, device: str) -> int:
    """Bytes of float32 features that one process may hold; settled once a process.

    Args:
        given: GiB, as asked for; 0 for a quarter of what is available, divided by the workers, and for half of the
            process's own ceiling at most.
        workers: processes that share the machine; 0 for one a core.
        device: where heads are trained. What is held lies there, and may take half of what a GPU has free.
    """
    if given:
        return int(given * GIB)
    rooms = [(available_memory() or _UNKNOWN * _SHARE) // _SHARE]
    if device.startswith("cuda"):
        import torch

        rooms.append(torch.cuda.mem_get_info(device)[0] // 2)
    shared = min(rooms) // (workers or os.cpu_count() or 1)
    most = ceiling()
    return shared if most is None else min(shared, int(most * GIB) // 2)
