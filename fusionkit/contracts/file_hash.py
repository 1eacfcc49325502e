"""Content hashes of files, and stamps: what a file system knows about a file without reading it."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from fusionkit.contracts.regular_file import open_file

SIZE = 16  # bytes of a content hash
ABSENT = bytes(SIZE)  # instead of the hash of a file that is missing or cannot be read
_SETTLED = 2_000_000_000  # ns; coarser than the clock of any usual file system


class Stamp(NamedTuple):
    """State of a file that changes whenever its content does, as in git's index. Times are in ns.

    The status time cannot be set by a program, so it also shows a file that was written in place under its old time.
    """

    inode: int
    size: int
    modified: int
    status: int

    @property
    def settled(self) -> bool:
        """Whether the next write must give another stamp: the last one is longer ago than a tick of any clock."""
        return max(self.modified, self.status) < time.time_ns() - _SETTLED


def stamp_of(path: str | os.PathLike[str]) -> Stamp | None:
    """Return the stamp of a regular file; None if there is none."""
    try:
        state = os.stat(path)  # noqa: PTH116  (ten times faster than a Path; there may be millions)
    except (OSError, ValueError):  # ValueError: a NUL byte in the name
        return None
    if not stat.S_ISREG(state.st_mode):
        return None
    return Stamp(state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def content_hash(path: str | os.PathLike[str]) -> bytes:
    """Read a file and return the hash of its bytes; ``ABSENT`` if it cannot be read."""
    try:
        with open_file(path, buffering=0) as stream:
            return hashlib.file_digest(stream, "sha256").digest()[:SIZE]
    except (OSError, ValueError):
        return ABSENT


def file_hashes(paths: Iterable[str]) -> Iterator[bytes]:
    """Yield the content hash of each file, reading all of them."""
    return map(content_hash, paths)


def file_hash(path: str | os.PathLike[str]) -> str:
    """Return the hash of a file's bytes (16 hex digits). It is read once per process, and again if it has changed.

    Raises:
        OSError, ValueError: if it cannot be read.
    """
    where = os.fspath(path)
    stamp = stamp_of(where)
    return _read_once(where, stamp) if stamp and stamp.settled else _read(where)


def _read(path: str) -> str:
    with open_file(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


@cache
def _read_once(path: str, stamp: Stamp) -> str:  # noqa: ARG001  (a file with another stamp is read again)
    return _read(path)
