"""Stored embeddings: shards of rows, each written whole and checked when read, in a cache that runs share."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionkit.artifact import read_artifact, read_meta, unwritable, write_artifact
from fusionkit.errors import DataError

SHARD = 2048  # rows; a multiple of the embedding batch, so that batch boundaries never move


def cache_folder() -> Path:
    """Where embeddings are kept: ``FUSIONKIT_CACHE``, else the platform's cache folder."""
    chosen = os.environ.get("FUSIONKIT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("fusionkit")


class EmbeddingStore:
    """Embeddings by key.

    Each shard is a folder with ``values.npy``, (n, D) or (n, K, D); a row of NaN is a view that was missing.

    Args:
        root: the cache folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def _shard(self, key: str, index: int) -> Path:
        return self.root / "embeddings" / key / f"{index:05d}"

    def missing(self, key: str, rows: int, *, verify: bool) -> list[int]:
        """The shards that are not there, or damaged.

        Args:
            key: of the embedding.
            rows: how many rows it has.
            verify: compare every byte with its checksum, not only sizes.
        """
        return [index for index in range(shard_count(rows)) if not self.has(key, index, verify=verify)]

    def has(self, key: str, index: int, *, verify: bool) -> bool:
        """Whether one shard is there and undamaged; ``verify`` as for :meth:`missing`."""
        check = read_artifact if verify else read_meta
        return check(self._shard(key, index)) is not None

    def write(self, key: str, index: int, values: np.ndarray, unreadable: Iterable[str], about: str = "") -> None:
        """Store one shard.

        Args:
            key: of the embedding.
            index: of the shard.
            values: (n, ...) float16, or float32 for ready embeddings.
            unreadable: the frames that gave no image, named for people.
            about: what this is, for people who look at the cache.
        """
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        meta = {"rows": len(values), "unreadable": list(unreadable), "about": about}
        write_artifact(self._shard(key, index), {"values.npy": buffer.getvalue()}, meta)

    def read(self, key: str, rows: np.ndarray) -> np.ndarray:
        """Some rows of an embedding: (n, D) or (n, K, D) float32.

        Raises:
            DataError: if a shard is missing or damaged.
        """
        out: np.ndarray | None = None
        for index in np.unique(rows // SHARD).tolist():
            files = read_artifact(self._shard(key, index))
            if files is None:
                raise DataError(f"{self._shard(key, index)} is missing or damaged", hint="run again: it is made anew")
            values = np.load(io.BytesIO(files["values.npy"]), allow_pickle=False)
            if out is None:
                out = np.empty((len(rows), *values.shape[1:]), np.float32)
            here = rows // SHARD == index
            out[here] = values[rows[here] - index * SHARD]
        return np.empty((0, 0), np.float32) if out is None else out

    def unreadable(self, key: str, rows: int) -> list[str]:
        """The frames that gave no image, named for people."""
        metas = (read_meta(self._shard(key, index)) for index in range(shard_count(rows)))
        return [name for meta in metas if meta for name in meta["unreadable"]]

    def entries(self) -> list[CacheEntry]:
        """Every embedding in the cache, the one that was used longest ago first."""
        folders = [folder for folder in (self.root / "embeddings").glob("*") if folder.is_dir()]
        return sorted(map(_entry, folders), key=lambda entry: entry.used)

    def remove(self, entry: CacheEntry) -> None:
        """Delete one embedding; it is made anew when it is needed.

        Raises:
            StorageError: if it cannot be deleted.
        """
        try:
            shutil.rmtree(self.root / "embeddings" / entry.key)
        except OSError as error:
            raise unwritable(self.root / "embeddings" / entry.key, error) from error


@dataclass(frozen=True)
class CacheEntry:
    """One embedding in the cache.

    Attributes:
        about: what it is, in words.
        size: bytes.
        used: when one of its files was last read or written, in seconds since the epoch; reading counts where the file
            system notes it.
    """

    key: str
    about: str
    size: int
    used: float


def _entry(folder: Path) -> CacheEntry:
    states = [file.stat() for file in folder.rglob("*") if file.is_file()]
    metas = (read_meta(shard) for shard in sorted(folder.iterdir()) if shard.is_dir())
    about = next((str(meta.get("about", "")) for meta in metas if meta), "unfinished")
    used = max((max(state.st_atime, state.st_mtime) for state in states), default=folder.stat().st_mtime)
    return CacheEntry(folder.name, about, sum(state.st_size for state in states), used)


def shard_count(rows: int) -> int:
    """How many shards hold that many rows."""
    return -(-rows // SHARD)
