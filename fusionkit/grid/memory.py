"""Memory limits of a worker: a task without bound must fail by itself, instead of taking the machine down.

The ceiling is on private writable memory (RLIMIT_DATA), which Linux counts since 4.7. Address space that torch and
memory-mapped files only reserve does not count. On other systems there is no ceiling.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import psutil

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

GIB = 2**30
_USABLE = 0.9  # of the available memory; the rest is for the driver and the page cache
_LEAST = 4.0  # GiB; among many workers, only one that grows without bound is to be stopped
_FEATURE_PART = 4  # features take a quarter of the available memory at most: plugins copy, and files are mapped
_CGROUPS = Path("/sys/fs/cgroup")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


def share(workers: int) -> float:
    """Return the GiB that each of some workers may use: an equal share of 90 % of the available memory.

    The share is at least 4 GiB if that much is available, since workers seldom need their share at the same time.
    """
    usable = _USABLE * available_memory() / GIB
    return max(usable / workers, min(_LEAST, usable))


@lru_cache
def feature_limit(given: float, workers: int, device: str) -> int:
    """Return the bytes of float32 features that this process may hold; computed once per process.

    Args:
        given: GiB, from the user; 0 for a quarter of the available memory divided by the workers, and half of the
            process's ceiling at most.
        workers: processes that share the machine; 0 for one per core.
        device: of training. Features are held there, and take half of a GPU's free memory at most.
    """
    if given:
        return int(given * GIB)
    limits = [available_memory() // _FEATURE_PART]
    if device.startswith("cuda"):
        import torch

        limits.append(torch.cuda.mem_get_info(device)[0] // 2)
    shared = min(limits) // (workers or os.cpu_count() or 1)
    most = ceiling()
    return shared if most is None else min(shared, int(most * GIB) // 2)


# -- the ceiling of this process ---------------------------------------------------------------------------------------


class _Ceiling:
    """State of this process.

    Attributes:
        gib: the ceiling, or None.
        base: bytes in use before there was a ceiling: the libraries.
        hit: whether the ceiling was reached.
    """

    gib: float | None = None
    base: int = 0
    hit: bool = False


def set_ceiling(gib: float | None) -> None:
    """Limit the memory of this process beyond its libraries; None for no limit.

    The memory in use when a limit is set, where there was none, counts as that of the libraries.
    """
    if sys.platform != "linux" or resource is None or gib == _Ceiling.gib:
        return
    if _Ceiling.gib is None:
        _Ceiling.base = _in_use()
    _Ceiling.gib, _Ceiling.hit = gib, False
    _limit(None if gib is None else _Ceiling.base + int(gib * GIB))


def ceiling() -> float | None:
    """Return the ceiling of this process in GiB, or None."""
    return _Ceiling.gib


def ceiling_message(gib: float) -> str:
    """Return the message of a task that reached the ceiling."""
    return f"ran out of the {round(gib, 2)} GiB that a worker may use (--worker-memory)"


@contextmanager
def headroom() -> Iterator[None]:
    """Lift the ceiling, so that a task that reached it can be reported."""
    if _Ceiling.gib is None:
        yield
        return
    _Ceiling.hit = True
    _limit(None)
    try:
        yield
    finally:
        _limit(_Ceiling.base + int(_Ceiling.gib * GIB))


def memory_exhausted() -> bool:
    """Return whether this process reached its ceiling and still uses over half of it: other tasks would fail too."""
    return _Ceiling.hit and _Ceiling.gib is not None and _in_use() - _Ceiling.base > _Ceiling.gib * GIB / 2


def _in_use() -> int:
    """Bytes of private writable memory."""
    return int(psutil.Process().memory_info().data)


def _limit(size: int | None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = hard if size is None else size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


# -- memory in use and available ---------------------------------------------------------------------------------------


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    if resource is None:
        memory = psutil.Process().memory_info()
        return float(getattr(memory, "peak_wset", memory.rss)) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def available_memory(own: Path = Path("/proc/self/cgroup")) -> int:
    """Return the available bytes of the machine, or of the container if it has less."""
    return min([int(psutil.virtual_memory().available), *_available_in_cgroups(own)])


def _available_in_cgroups(own: Path) -> Iterator[int]:
    """Bytes that each control group of this process has left, if it has a limit."""
    try:
        groups = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return
    for _, controllers, path in groups:
        if controllers not in ("", "memory"):
            continue
        root = _CGROUPS / controllers
        # Inside a container the path may be the host's: then the root is the container's own group.
        inner = root / path.lstrip("/")
        for folder in [inner, *inner.parents]:
            if folder == root or root in folder.parents:
                left = _available_in(folder, *(_V1 if controllers else _V2))
                yield from [] if left is None else [left]


def _available_in(folder: Path, limit: str, used: str, reclaimable: str) -> int | None:
    try:
        most = int((folder / limit).read_text(encoding="utf-8"))  # "max" if there is none
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        return max(most - int((folder / used).read_text(encoding="utf-8")) + int(stat.get(reclaimable, 0)), 0)
    except (OSError, ValueError):
        return None
