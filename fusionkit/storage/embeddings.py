"""Stored embeddings: shards of rows, written whole, checked before they are mapped, in a cache that runs share."""

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

SHARD = 2048  # rows; a multiple of the embedding batch, so that batch boundaries never move
_VALUES = "values.npy"

FrameFormat = tuple[
    tuple[int, ...], np.dtype[Any]
]  # of one row: its shape, (D,) or (K, D), and the type that is stored


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
        lengths = [min(rows - index * SHARD, SHARD) for index in range(shard_count(rows))]
        return [index for index, length in enumerate(lengths) if not self.has(key, index, verify=verify, rows=length)]

    def has(self, key: str, index: int, *, verify: bool, rows: int | None = None) -> bool:
        """Whether one shard is there and undamaged.

        Args:
            key: of the embedding.
            index: of the shard.
            verify: as for :meth:`missing`.
            rows: how many rows it must have: one with more or fewer was cut otherwise, and is of other frames.
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
            key: of the embedding.
            index: of the shard.
            values: (n, ...) float16, or float32 for ready embeddings.
            unreadable: the frames that gave no image, named for people.
            about: what this is, for people who look at the cache.
            seconds: what making it took, where that is known.
            record: what the key was made from.
        """
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        meta = {"rows": len(values), "unreadable": list(unreadable), "about": about, "seconds": seconds}
        meta["record"] = dict(record or {})
        write_artifact(self._shard(key, index), {_VALUES: buffer.getvalue()}, meta)

    def read(self, key: str, rows: np.ndarray) -> np.ndarray:
        """Some rows of an embedding, in the order asked for: (n, D) or (n, K, D) float32.

        Raises:
            DataError: if a shard is missing or damaged.
        """
        if not len(rows):
            return np.empty((0, 0), np.float32)
        shape, _ = self.layout(key, int(rows[0]))
        out = np.empty((len(rows), *shape), np.float32)
        self.read_into(out, key, rows)
        return out

    def read_into(self, out: np.ndarray, key: str, rows: np.ndarray) -> None:
        """As :meth:`read`, into an array of n rows.

        Args:
            out: of a type that holds what is stored, as :meth:`layout` tells it.
            key: of the embedding.
            rows: (n,) which, in any order.

        Raises:
            DataError: if a shard is missing or damaged.
        """
        for places, values, within in self._visit(key, rows):
            out[places] = values[within]

    def present(self, key: str, rows: np.ndarray) -> np.ndarray:
        """(n,) bool: whether the view is there; little of each row is looked at.

        Raises:
            DataError: if a shard is missing or damaged.
        """
        out = np.empty(len(rows), dtype=bool)
        for places, values, within in self._visit(key, rows):
            out[places] = present_rows(values.reshape(len(values), -1)[:, :1][within])
        return out

    def _visit(self, key: str, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Each shard once, in order: places among ``rows``, the shard's values, and the rows within it, rising."""
        order = np.argsort(rows, kind="stable")
        shards, starts = np.unique(rows[order] // SHARD, return_index=True)
        for index, places in zip(shards.tolist(), np.split(order, starts)[1:], strict=True):
            yield places, self._map(key, index), rows[places] - index * SHARD

    def layout(self, key: str, row: int) -> FrameFormat:
        """Shape and type of one row.

        Raises:
            DataError: if its shard is missing or damaged.
        """
        values = self._map(key, row // SHARD)
        return values.shape[1:], values.dtype

    def _map(self, key: str, index: int) -> np.ndarray:
        """The values of a shard, mapped: pages of it that are in memory are the system's, which may drop them.

        The map lives as long as the array. Maps are not kept: each holds a file open, and there may be thousands.
        """
        shard = self._shard(key, index)
        if not _verified(shard):
            raise DataError(f"{shard} is missing or damaged", hint="run again: it is made anew")
        return np.asarray(np.load(shard / _VALUES, mmap_mode="r", allow_pickle=False))

    def unreadable(self, key: str, rows: int) -> list[str]:
        """The frames that gave no image, named for people."""
        metas = (read_meta(self._shard(key, index)) for index in range(shard_count(rows)))
        return [name for meta in metas if meta for name in meta["unreadable"]]

    def seconds(self, key: str) -> float | None:
        """What making an embedding took, all shards together; None where that was not noted of each."""
        metas = [read_meta(folder) for folder in sorted((self.root / "embeddings" / key).glob("[0-9]*"))]
        noted = [meta.get("seconds") for meta in metas if meta]
        known = [float(value) for value in noted if value is not None]
        return sum(known) if known and len(known) == len(metas) else None

    def frames(self, key: str, rows: int) -> int:
        """How many of an embedding's rows are there; sizes are compared, not bytes."""
        lacking = self.missing(key, rows, verify=False)
        return rows - sum(min(rows - index * SHARD, SHARD) for index in lacking)

    def stands(self, key: str, index: int) -> bool:
        """Whether there is anything of one shard, damaged or not."""
        return self._shard(key, index).exists()

    def notes(self) -> Iterator[dict[str, Any]]:
        """What was noted with every embedding, its first shard's ``meta`` for all, the embedding made last first.

        No values are read, and what cannot be read is left out.
        """
        folders = [folder for folder in (self.root / "embeddings").glob("[!.]*") if folder.is_dir()]
        for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True):
            meta = next(filter(None, map(_noted, sorted(folder.glob("[0-9]*")))), None)
            if meta:
                yield meta

    def entries(self) -> list[CacheEntry]:
        """Every embedding in the cache, the one that was used longest ago first."""
        folders = [folder for folder in (self.root / "embeddings").glob("*") if folder.is_dir()]
        return sorted(filter(None, map(_entry, folders)), key=lambda entry: entry.used)

    def remove(self, entry: CacheEntry) -> None:
        """Delete one embedding; it is made anew when it is needed.

        Raises:
            StorageError: if it cannot be deleted.
        """
        try:
            with suppress(FileNotFoundError):  # somebody else deletes it too
                shutil.rmtree(self.root / "embeddings" / entry.key)
        except OSError as error:
            raise unwritable(self.root / "embeddings" / entry.key, error) from error


@dataclass(frozen=True)
class CacheEntry:
    """One embedding in the cache.

    Attributes:
        about: what it is, in words.
        size: bytes.
        used: when it was last written or its values were read, in seconds since the epoch; reading counts where the
            file system notes it.
    """

    key: str
    about: str
    size: int
    used: float


def _entry(folder: Path) -> CacheEntry | None:
    """What an embedding's folder holds; None if it is gone. Runs may be writing there, and files come and go."""
    files = list(_files(folder))
    try:
        metas = [_noted(shard) for shard in sorted(folder.iterdir()) if shard.is_dir()]
        made = folder.stat().st_mtime
    except FileNotFoundError:
        return None
    about = next((str(meta.get("about", "")) for meta in metas if meta), "unfinished")
    # Who looks at the cache reads what is noted of each embedding, and uses none.
    times = [max(state.st_mtime, state.st_atime if name == _VALUES else 0.0) for name, state in files]
    return CacheEntry(folder.name, about, sum(state.st_size for _, state in files), max(times, default=made))


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield name, Path(place, name).stat()


_FOUND_WHOLE: dict[Path, tuple[int, int, int]] = {}  # by shard: its values' inode, time of change and size then


def _verified(shard: Path) -> bool:
    """Whether every byte of a shard is what was written; read once a process, unless the file has changed since."""
    try:
        state = (shard / _VALUES).stat()
    except OSError:
        return False
    stamp = (state.st_ino, state.st_mtime_ns, state.st_size)
    if _FOUND_WHOLE.get(shard) != stamp:
        if not check_artifact(shard):
            return False
        _FOUND_WHOLE[shard] = stamp
    return True


def _noted(shard: Path) -> dict[str, Any] | None:
    try:
        return read_meta(shard)
    except DataError:  # of a later version of fusionkit: it tells this one nothing
        return None


def present_rows(values: np.ndarray) -> np.ndarray:
    """(n,) bool: which of n rows are there; one that is missing is NaN as a whole."""
    flags: np.ndarray = ~np.isnan(values.reshape(len(values), -1)[:, 0])
    return flags


def shard_count(rows: int) -> int:
    """How many shards hold that many rows."""
    return -(-rows // SHARD)
