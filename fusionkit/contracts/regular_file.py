"""Opening of files that a user names. A pipe or a device would be read for ever, or never answer: it is refused."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

_SPECIAL = "it is a pipe or a device, not a file"


def open_file(path: str | os.PathLike[str], mode: str = "rb", **how: Any) -> Any:
    """Open a file for reading, as :func:`open` does.

    Args:
        path: the file, or a link to it.
        mode: ``rb`` or ``r``.
        how: further arguments of :func:`open`.

    Raises:
        OSError: if it cannot be opened, or is a pipe, a socket or a device.
    """
    return open(path, mode, opener=_opened, **how)


def read_file(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """Return the bytes of a file.

    Args:
        path: the file, or a link to it.
        most: largest size in bytes. Default: no limit.

    Raises:
        OSError: if it cannot be read, is a pipe, a socket or a device, or is larger.
    """
    with open_file(path, buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes; at most {most:,} are read", os.fspath(path))
        data: bytes = file.read()
        return data


def special_file(path: Path) -> str:
    """Return why a path cannot be read or replaced as a file: it is a pipe or a device; empty for any other path."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    return "" if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _SPECIAL


def _opened(path: str, flags: int) -> int:
    # Without blocking: opening a pipe would wait until something writes to it. No effect on files.
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, _SPECIAL, path)
