"""Store of embeddings: shards of rows, written atomically and checked when they are read, in a cache shared by runs."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.errors import DataError
from fusionkit.storage.artifact import check_artifact, read_meta, unwritable, write_artifact
from fusionkit.storage.record import Versions, different, library_versions

SHARD = 2048  # rows; a multiple of the embedding batch, so that batch boundaries never move
_VALUES = "values.npy"

FrameFormat = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape of one row, (D,), (K, D) or (H, W, D), and the stored type."""


class EmbeddingStore:
    """Embeddings by key.

    Each shard is a folder with ``values.npy``, (n, D), (n, K, D) or (n, H, W, D); a row of NaN is a missing view.

    Args:
        root: the cache folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def _shard(self, key: str, index: int) -> Path:
        return self.root / "embeddings" / key / f"{index:05d}"

    def missing(self, key: str, rows: int, *, verify: bool) -> list[int]:
        """Return the indices of shards that are missing or damaged.

        Args:
            key: key of the embedding.
            rows: number of its rows.
            verify: compare every byte with its checksum, not only sizes.
        """
        lengths = [min(rows - index * SHARD, SHARD) for index in range(shard_count(rows))]
        return [index for index, length in enumerate(lengths) if not self.has(key, index, verify=verify, rows=length)]

    def has(self, key: str, index: int, *, verify: bool, rows: int | None = None) -> bool:
        """Return whether a shard is stored and undamaged.

        Args:
            key: key of the embedding.
            index: index of the shard.
            verify: as for :meth:`missing`.
            rows: number of rows it must have; with another number it holds other frames. None: any number.
        """
        shard = self._shard(key, index)
        meta = read_meta(shard)
        return meta is not None and rows in (None, meta["rows"]) and (not verify or _verified(shard))

    def write(
        self,
        key: str,
        index: int,
        values: np.ndarray,
        unreadable: Iterable[str],
        about: str = "",
        seconds: float | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        """Store one shard.

        Args:
            key: key of the embedding.
            index: index of the shard.
            values: (n, ...) float16, or float32 for ready embeddings.
            unreadable: names of the frames without a readable image.
            about: description for ``fusionkit cache``.
            seconds: time of computation; None if unknown.
            record: what the key was computed from.
        """
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        meta = {"rows": len(values), "unreadable": list(unreadable), "about": about, "seconds": seconds}
        meta |= {"record": dict(record or {}), "versions": library_versions()}
        write_artifact(self._shard(key, index), {_VALUES: buffer.getvalue()}, meta)

    def read(self, key: str, rows: np.ndarray) -> np.ndarray:
        """Return rows of an embedding in the given order: (n, ...) float32.

        Raises:
            DataError: if a shard is missing or damaged.
        """
        if not len(rows):
            return np.empty((0, 0), np.float32)
        shape, _ = self.frame_format(key, int(rows[0]))
        out = np.empty((len(rows), *shape), np.float32)
        self.read_into(out, key, rows)
        return out

    def read_into(self, out: np.ndarray, key: str, rows: np.ndarray) -> None:
        """Read rows of an embedding into an array.

        Args:
            out: n rows of a type that can hold the stored one; see :meth:`frame_format`.
            key: key of the embedding.
            rows: (n,) row numbers, in any order.

        Raises:
            DataError: if a shard is missing or damaged.
        """
        for positions, values, within in self._visit(key, rows):
            out[positions] = values[within]

    def present(self, key: str, rows: np.ndarray) -> np.ndarray:
        """Return whether each row has its view: (n,) bool. Only the first value of a row is read.

        Raises:
            DataError: if a shard is missing or damaged.
        """
        out = np.empty(len(rows), dtype=bool)
        for positions, values, within in self._visit(key, rows):
            out[positions] = present_rows(values.reshape(len(values), -1)[:, :1][within])
        return out

    def _visit(self, key: str, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield each shard once: positions in ``rows``, the shard's values, ascending rows within the shard."""
        order = np.argsort(rows, kind="stable")
        shards, starts = np.unique(rows[order] // SHARD, return_index=True)
        for index, positions in zip(shards.tolist(), np.split(order, starts)[1:], strict=True):
            yield positions, self._map(key, index), rows[positions] - index * SHARD

    def frame_format(self, key: str, row: int) -> FrameFormat:
        """Return shape and type of one row.

        Raises:
            DataError: if its shard is missing or damaged.
        """
        values = self._map(key, row // SHARD)
        return values.shape[1:], values.dtype

    def _map(self, key: str, index: int) -> np.ndarray:
        """Return the memory-mapped values of a shard; the system may drop its pages from memory.

        The map lives as long as the array. Maps are not kept: each holds a file open, and there may be thousands.
        """
        shard = self._shard(key, index)
        if not _verified(shard):
            raise DataError(f"{shard} is missing or damaged", hint="run again to recompute it")
        return np.asarray(np.load(shard / _VALUES, mmap_mode="r", allow_pickle=False))

    def unreadable(self, key: str, rows: int) -> list[str]:
        """Return the names of the frames without a readable image."""
        metas = (read_meta(self._shard(key, index)) for index in range(shard_count(rows)))
        return [name for meta in metas if meta for name in meta["unreadable"]]

    def versions(self, key: str) -> list[Versions]:
        """Return the different versions of libraries that computed the shards of an embedding."""
        metas = (read_meta(folder) for folder in sorted((self.root / "embeddings" / key).glob("[0-9]*")))
        return different(meta["versions"] for meta in metas if meta)

    def seconds(self, key: str) -> float | None:
        """Return the computation time of an embedding, summed over shards; None if a shard's time is unknown."""
        metas = [read_meta(folder) for folder in sorted((self.root / "embeddings" / key).glob("[0-9]*"))]
        known = [float(meta["seconds"]) for meta in metas if meta and meta["seconds"] is not None]
        return sum(known) if known and len(known) == len(metas) else None

    def stored_rows(self, key: str, rows: int) -> int:
        """Return how many of an embedding's rows are stored, by comparing sizes, not bytes."""
        missing = self.missing(key, rows, verify=False)
        return rows - sum(min(rows - index * SHARD, SHARD) for index in missing)

    def exists(self, key: str, index: int) -> bool:
        """Return whether a shard's folder exists, damaged or not."""
        return self._shard(key, index).exists()

    def metas(self) -> Iterator[dict[str, Any]]:
        """Yield the metadata of every embedding, from its first readable shard, the newest embedding first."""
        folders = [folder for folder in (self.root / "embeddings").glob("[!.]*") if folder.is_dir()]
        for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True):
            meta = next(filter(None, map(_readable_meta, sorted(folder.glob("[0-9]*")))), None)
            if meta:
                yield meta

    def entries(self) -> list[CacheEntry]:
        """Return every embedding in the cache, the least recently used first."""
        folders = [folder for folder in (self.root / "embeddings").glob("*") if folder.is_dir()]
        return sorted(filter(None, map(_entry, folders)), key=lambda entry: entry.used)

    def remove(self, entry: CacheEntry) -> None:
        """Delete one embedding. It is recomputed when it is needed.

        Raises:
            StorageError: if it cannot be deleted.
        """
        try:
            with suppress(FileNotFoundError):  # another process deletes it too
                shutil.rmtree(self.root / "embeddings" / entry.key)
        except OSError as error:
            raise unwritable(self.root / "embeddings" / entry.key, error) from error


@dataclass(frozen=True)
class CacheEntry:
    """One embedding in the cache.

    Attributes:
        key: its key.
        about: description.
        size: bytes.
        used: time of the last write or read of its values, in seconds since the epoch. Reads count only where the file
            system records access times.
    """

    key: str
    about: str
    size: int
    used: float


def _entry(folder: Path) -> CacheEntry | None:
    """Return the entry of an embedding's folder; None if it is gone. Other runs may write or delete files meanwhile."""
    files = list(_files(folder))
    try:
        metas = [_readable_meta(shard) for shard in sorted(folder.iterdir()) if shard.is_dir()]
        created = folder.stat().st_mtime
    except FileNotFoundError:
        return None
    about = next((str(meta["about"]) for meta in metas if meta), "unfinished")
    # Listing the cache reads metadata: only reading values counts as use.
    times = [max(state.st_mtime, state.st_atime if name == _VALUES else 0.0) for name, state in files]
    return CacheEntry(folder.name, about, sum(state.st_size for _, state in files), max(times, default=created))


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield name, Path(parent, name).stat()


_INTACT: dict[Path, tuple[int, int, int]] = {}  # verified shards: inode, modification time and size of their values


def _verified(shard: Path) -> bool:
    """Return whether a shard is undamaged. Its bytes are read once per process, and again if the file has changed."""
    try:
        state = (shard / _VALUES).stat()
    except OSError:
        return False
    stamp = (state.st_ino, state.st_mtime_ns, state.st_size)
    if _INTACT.get(shard) != stamp:
        if not check_artifact(shard):
            return False
        _INTACT[shard] = stamp
    return True


def _readable_meta(shard: Path) -> dict[str, Any] | None:
    try:
        return read_meta(shard)
    except DataError:  # written by a later version of fusionkit
        return None


def present_rows(values: np.ndarray) -> np.ndarray:
    """Return whether each of n rows is present: (n,) bool. All values of a missing row are NaN."""
    flags: np.ndarray = ~np.isnan(values.reshape(len(values), -1)[:, 0])
    return flags


def shard_count(rows: int) -> int:
    """Return the number of shards for a number of rows."""
    return -(-rows // SHARD)
