"""Where fusionkit writes: the cache of embeddings, and the folder that it is called in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.filesize import decimal

from fusionkit.engine.embeddings import EmbeddingStore, cache_folder
from fusionkit.errors import cause_of
from fusionkit.report.doctor.finding import Finding

_LITTLE = 2 * 1000**3  # bytes


def places() -> Iterator[Finding]:
    """The cache with what it holds, and where runs go by default."""
    root = cache_folder()
    entries = EmbeddingStore(root).entries() if root.is_dir() else []
    held = f"{len(entries)} embeddings, {decimal(sum(entry.size for entry in entries))}"
    yield _place("cache", root, held, "set FUSIONKIT_CACHE to a folder with room; fusionkit cache --prune deletes")
    yield _place("runs", Path("runs").absolute(), "default of --out", "call fusionkit elsewhere, or give --out")


def _place(name: str, folder: Path, about: str, advice: str) -> Finding:
    """Whether it can be written, tried with a file without a name, and how much room there is."""
    above = next(place for place in (folder, *folder.parents) if place.exists())
    shown = short(folder)
    try:
        with tempfile.TemporaryFile(dir=above) as file:
            file.write(b"0")
    except OSError as error:
        return Finding("folders", name, f"{shown}: cannot be written: {cause_of(error)}", "broken", advice)
    free = shutil.disk_usage(above).free
    value = f"{shown}: {about}, {decimal(free)} free"
    return Finding("folders", name, value, "warning", advice) if free < _LITTLE else Finding("folders", name, value)


def short(path: Path) -> str:
    """A path without the name of whoever is at home: findings are pasted into bug reports."""
    try:
        return (Path("~") / path.relative_to(Path.home())).as_posix()
    except (ValueError, RuntimeError):
        return str(path)
