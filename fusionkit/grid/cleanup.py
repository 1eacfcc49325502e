"""Remove partial files of killed processes, unless another process may be writing them."""

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
    """Remove partial files from a run folder and from the cache.

    Writing takes seconds. A writer counts as dead a day after its last write; a process of this machine that has left
    its lease, after a minute.
    """
    for folder, leases in _folders(run, cache):
        for path, name in half_written(folder).items():
            dead = leases is not None and abandoned(Path(leases + name))
            if _age(path) > (STALE if dead else _OLD):
                _remove(path)


def _folders(run: Path, cache: Path) -> Iterator[tuple[Path, str | None]]:
    """Folders of artifacts, with the beginning of the path of an artifact's lease; None without a lease of its own."""
    yield run / "heads", f"{run}/leases/"
    yield from ((run / name, None) for name in ("", "cells", "folds", "failures"))
    with suppress(OSError):
        for entry in os.scandir(cache / "embeddings"):
            yield Path(entry.path), f"{cache}/leases/{entry.name}-"


def _age(path: Path) -> float:
    """Seconds since the last write, by the clock of the folder."""
    try:
        last = max(file.stat().st_mtime for file in [path, *(path.iterdir() if path.is_dir() else [])])
        return folder_time(path.parent) - last
    except OSError:  # it was renamed meanwhile, or nothing can be written here
        return 0.0


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
