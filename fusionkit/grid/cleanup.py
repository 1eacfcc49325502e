"""What killed processes left half written: removed when the next run begins, and never while somebody may write it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fusionkit.storage.artifact import half_written
from fusionkit.storage.lease import STALE, abandoned, folder_time

_OLD = 24 * 3600.0  # s


def remove_partial_files(run: Path, cache: Path) -> None:
    """Remove from a run's folder and from the cache what is half written and whose process is gone.

    Writing takes seconds. Gone is who has not written for a day; and who has not for a minute, if it was a process of
    this machine that left its lease behind.
    """
    for place, leases in _places(run, cache):
        for path, name in half_written(place).items():
            dead = leases is not None and abandoned(Path(leases + name))
            if _untouched(path) > (STALE if dead else _OLD):
                _remove(path)


def _places(run: Path, cache: Path) -> Iterator[tuple[Path, str | None]]:
    """Folders in which pieces are written, and how the path of a piece's lease begins; None where it has no own one."""
    yield run / "heads", f"{run}/leases/"
    yield from ((run / name, None) for name in ("", "cells", "folds", "failures"))
    with suppress(OSError):
        for entry in os.scandir(cache / "embeddings"):
            yield Path(entry.path), f"{cache}/leases/{entry.name}-"


def _untouched(path: Path) -> float:
    """Seconds since something of it was written, by the clock of its folder."""
    try:
        last = max(file.stat().st_mtime for file in [path, *(path.iterdir() if path.is_dir() else [])])
        return folder_time(path.parent) - last
    except OSError:  # it was put in its place meanwhile, or nothing can be written here
        return 0.0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
