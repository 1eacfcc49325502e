"""What a process says on standard error before it dies: a crash, or a hang that is ended, leaves its traceback."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STDERR = 2
_MOST = 64 * 1024  # bytes that are kept of them


@contextmanager
def recorded(path: Path) -> Iterator[None]:
    """While it lasts, standard error goes to a file, with the Python stack if the process crashes or is ended.

    A process that lives passes on what was said, and removes the file. The file is locked meanwhile.
    """
    before = os.dup(_STDERR)
    with path.open("w+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        os.dup2(file.fileno(), _STDERR)
        faulthandler.enable(_STDERR)
        faulthandler.register(signal.SIGTERM, _STDERR, all_threads=True, chain=True)
        try:
            yield
        finally:
            with suppress(OSError, ValueError):  # a plugin may have closed it
                sys.stderr.flush()
            faulthandler.unregister(signal.SIGTERM)
            faulthandler.disable()
            os.dup2(before, _STDERR)
            os.close(before)
            path.unlink(missing_ok=True)
            file.seek(0)
            with os.fdopen(os.dup(_STDERR), "wb") as stream, suppress(OSError):
                shutil.copyfileobj(file, stream)


def read(path: Path) -> str:
    """What was recorded, the end of it if it is long."""
    try:
        return path.read_bytes()[-_MOST:].decode(errors="replace")
    except OSError:
        return ""


def abandoned(path: Path) -> bool:
    """Whether a file is there of which the writer is gone."""
    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # not there, or locked
        return False
    return True
