"""How much memory a worker may use: one that takes without bound must fail by itself, not take the machine down.

The ceiling is of private writable memory (RLIMIT_DATA), which Linux counts since 4.7; address space that torch and
memory-mapped files merely reserve is not in it. Elsewhere there is no ceiling.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

GIB = 2**30
_MOST = 0.9  # of what is available: the rest is for the driver and the page cache
_LEAST = 4.0  # GiB; one worker that runs wild among many is to be stopped, and healthy work is not
_CGROUPS = Path("/sys/fs/cgroup")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


class _State:
    """Of this process.

    Attributes:
        ceiling: GiB that it may use, or None.
        base: bytes that it used before the ceiling was set: the libraries.
        hit: whether it ran into the ceiling.
    """

    ceiling: float | None = None
    base: int = 0
    hit: bool = False


def share(workers: int) -> float | None:
    """GiB that each of some workers may use: most of what the machine has available now, shared out.

    At least 4 GiB where there is that much, since workers seldom need as much at the same time. None where the system
    does not tell.
    """
    room = available_memory()
    if room is None:
        return None
    most = _MOST * room / GIB
    return max(most / workers, min(_LEAST, most))


def set_ceiling(gib: float | None) -> None:
    """From now on this process may use that much beside its libraries; None for as much as there is.

    Its libraries are what it uses when this is first called.
    """
    if sys.platform != "linux" or gib == _State.ceiling:
        return
    _State.ceiling, _State.hit = gib, False
    if gib is not None:
        _State.base = _State.base or _in_use()
    _limit(None if gib is None else _State.base + int(gib * GIB))


def ceiling() -> float | None:
    """GiB that this process may use, or None."""
    return _State.ceiling


def out_of_ceiling(gib: float) -> str:
    """In words: it was reached."""
    return f"ran out of the {round(gib, 2)} GiB that a worker may use (--worker-memory)"


@contextmanager
def headroom() -> Iterator[None]:
    """Memory without a ceiling, to put in words that it was reached."""
    if _State.ceiling is None:
        yield
        return
    _State.hit = True
    _limit(None)
    try:
        yield
    finally:
        _limit(_State.base + int(_State.ceiling * GIB))


def is_spoilt() -> bool:
    """Whether this process ran into its ceiling and has not got the memory back: other work would fail in it too."""
    return _State.hit and _State.ceiling is not None and _in_use() - _State.base > _State.ceiling * GIB / 2


def available_memory(meminfo: Path = Path("/proc/meminfo"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes that could be taken now: of the machine, or of the container if that has less. None where nobody tells."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        machine = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None
    return min([machine, *_cgroup_rooms(own)])


def _cgroup_rooms(own: Path) -> Iterator[int]:
    """What the control groups of this process leave it, each that has a limit."""
    try:
        groups = [line.split(":", 2) for line in own.read_text().splitlines()]
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
                room = _room(folder, *(_V1 if controllers else _V2))
                yield from [] if room is None else [room]


def _room(folder: Path, limit: str, used: str, reclaimable: str) -> int | None:
    try:
        most = int((folder / limit).read_text())  # "max" where there is none
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(most - int((folder / used).read_text()) + int(stat.get(reclaimable, 0)), 0)
    except (OSError, ValueError):
        return None


def _in_use() -> int:
    """Bytes of private writable memory."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def _limit(size: int | None) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = hard if size is None else size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


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
