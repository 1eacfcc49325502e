"""Index of image files: content hashes that are kept in the cache folder, so that only changed files are read again.

As in git's index, the stamp of a file (inode, size, times) stands for its content. A file that was written moments ago
is not kept: a second write in the same tick of the clock would have the same stamp.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from fusionkit.contracts.dataset import FaceDataset
from fusionkit.contracts.file_hash import ABSENT, SIZE, Stamp, content_hash, stamp_of
from fusionkit.errors import StorageError
from fusionkit.storage.artifact import write_file
from fusionkit.storage.cache_folder import cache_folder

FOLDER = "images"  # in the cache
_BLOCK, _PART = 2048, 64  # files looked up at once, and by one thread
_THREADS = 16  # reading small files waits for the disk
_SAMPLE = 64  # rows whose files tell the folder of the data
_PATIENCE = 10.0  # s of reading before a line tells why

_log = logging.getLogger("fusionkit")


def data_fingerprint(dataset: FaceDataset, rows: np.ndarray) -> str:
    """Return the identity of a data set with the images of some rows; unchanged files are not read.

    Args:
        dataset: the data set.
        rows: (n,) int64, rows of its table.
    """
    sample = rows[np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(int)] if len(rows) else rows
    folders = [os.path.dirname(path) for path in dataset.image_files(sample) if stamp_of(path)]  # noqa: PTH120
    return dataset.fingerprint(rows, partial(kept_hashes, _common_folder(folders)))


def kept_hashes(root: str, paths: Iterable[str]) -> Iterator[bytes]:
    """Yield the content hash of each file below a folder, in order; ``ABSENT`` if it cannot be read."""
    index = FileIndex(root)
    try:
        yield from index.hashes(paths)
    finally:
        index.save()  # also what was read before an interruption


def _common_folder(folders: Sequence[str]) -> str:
    try:
        return os.path.commonpath(folders)
    except ValueError:  # no file, or absolute paths beside relative ones
        return ""


class FileIndex:
    """Content hashes of the files below a folder.

    Args:
        root: the folder; a copy elsewhere is read once.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        name = hashlib.sha256(os.path.abspath(root).encode(errors="surrogateescape")).hexdigest()[:16]  # noqa: PTH100
        self.path = cache_folder() / FOLDER / name
        self._entries = _loaded(self.path)  # (n, 4) uint64: key and hash of a file, sorted by key
        self._first = np.ascontiguousarray(self._entries[:, 0])
        self._used = np.zeros(len(self._entries), bool)
        self._new = bytearray()
        self._reading = 0.0

    def hashes(self, paths: Iterable[str]) -> Iterator[bytes]:
        """Yield the content hash of each file, in order; ``ABSENT`` if it cannot be read."""
        left = iter(paths)
        pool = ThreadPoolExecutor(_THREADS)
        try:
            while block := list(islice(left, _BLOCK)):
                yield from self._hashes(block, pool)
        finally:
            pool.shutdown(cancel_futures=True)

    def save(self) -> None:
        """Store what was read. Without it the next run reads the files again, so a failure is no error."""
        new = np.frombuffer(self._new, np.uint64).reshape(-1, 4)
        kept = self._entries if len(self._entries) <= 2 * (self._used.sum() + len(new)) else self._entries[self._used]
        if len(new) or len(kept) < len(self._entries):
            entries = np.unique(np.concatenate([kept, new]), axis=0).tobytes()
            with suppress(StorageError):
                write_file(self.path, hashlib.sha256(entries).digest() + entries)

    def _hashes(self, paths: list[str], pool: ThreadPoolExecutor) -> list[bytes]:
        stamps = [stamp for part in pool.map(_stamps, _parts(paths)) for stamp in part]
        keys = [self._key(path, stamp) if stamp else b"" for path, stamp in zip(paths, stamps, strict=True)]
        known = self._look_up(keys)
        unread = {key: (path, stamp) for path, stamp, key in zip(paths, stamps, keys, strict=True) if key not in known}
        self._read(unread, known, pool)
        return [known[key] for key in keys]

    def _read(
        self, unread: dict[bytes, tuple[str, Stamp | None]], known: dict[bytes, bytes], pool: ThreadPoolExecutor
    ) -> None:
        """Read files, add their hashes to ``known``, and note those that may be kept."""
        began = time.perf_counter()
        parts = _parts([path for path, _ in unread.values()])
        found = [hash_ for part in pool.map(_contents, parts) for hash_ in part]
        for (key, (_, stamp)), hash_ in zip(unread.items(), found, strict=True):
            known[key] = hash_
            if stamp and stamp.settled and hash_ != ABSENT:
                self._new += key + hash_
        waited, self._reading = self._reading, self._reading + time.perf_counter() - began
        if waited < _PATIENCE <= self._reading:
            _log.warning(
                "reading the images below %s to know their content; later runs read changed files only", self.root
            )

    def _key(self, path: str, stamp: Stamp) -> bytes:
        text = f"{path.removeprefix(self.root)}\0{stamp.inode}\0{stamp.size}\0{stamp.modified}\0{stamp.status}"
        return hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:SIZE]

    def _look_up(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """Return the kept hashes by key; a file that is missing has the key ``b""``."""
        known = {b"": ABSENT}
        there = [key for key in keys if key]
        if not len(self._entries) or not there:
            return known
        wanted = np.frombuffer(b"".join(there), np.uint64).reshape(-1, 2)
        at = np.minimum(np.searchsorted(self._first, wanted[:, 0]), len(self._first) - 1)
        found = (self._entries[at, :2] == wanted).all(1)
        self._used[at[found]] = True
        hashes = self._entries[at, 2:].tobytes()
        return known | {there[i]: hashes[SIZE * i : SIZE * (i + 1)] for i in np.flatnonzero(found).tolist()}


def _loaded(path: Path) -> np.ndarray:
    """Return the entries of an index; none if it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    checksum, entries = data[:32], data[32:]
    if hashlib.sha256(entries).digest() != checksum or len(entries) % (2 * SIZE):
        entries = b""
    return np.frombuffer(entries, np.uint64).reshape(-1, 4)


def _parts(paths: list[str]) -> list[list[str]]:
    return [paths[start : start + _PART] for start in range(0, len(paths), _PART)]


def _stamps(paths: list[str]) -> list[Stamp | None]:
    return [stamp_of(path) for path in paths]


def _contents(paths: list[str]) -> list[bytes]:
    return [content_hash(path) for path in paths]
