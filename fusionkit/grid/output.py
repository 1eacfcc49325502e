"""Output of a task: what components print is bounded; what a worker prints is recorded until a task has ended."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fusionkit.storage.lease import abandoned, lease

SHOWN = 2_000  # characters that a task may print to each stream
_STDOUT, _STDERR = 1, 2
_TAIL = 64 * 1024  # bytes of stderr that say how a process died
_HELD = 64 * 2**20  # characters of a stream that are held for a failure file


class _Recording:
    """File to which standard error of this process is redirected, or None."""

    path: Path | None = None


# -- streams of Python -------------------------------------------------------------------------------------------------


class BoundedStream:
    """Stands for a text stream: passes the first characters on, and holds the text for a failure file.

    Attributes:
        rich_proxied_file: the stream itself; rich draws progress bars on it.
    """

    def __init__(self, stream: Any) -> None:
        self.rich_proxied_file = stream
        self._size = 0
        self._held: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)

    def write(self, text: str) -> int:
        """Write a text up to the limit."""
        if self._size < SHOWN:
            self.rich_proxied_file.write(text[: SHOWN - self._size])
        if self._size < _HELD:
            self._held.append(text[: _HELD - self._size])
        self._size += len(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write every line up to the limit."""
        for line in lines:
            self.write(line)

    def end(self) -> None:
        """Write how much was not shown."""
        with suppress(OSError, ValueError):  # a component may have closed it
            if self._size > SHOWN:
                self.rich_proxied_file.write(_more(self._size - SHOWN))
            self.rich_proxied_file.flush()

    def text(self) -> str:
        """Return what was written, if it was not shown whole; else an empty text."""
        return "".join(self._held) if self._size > SHOWN else ""


@contextmanager
def bounded_output() -> Iterator[Callable[[], str]]:
    """Bound what Python code prints. What is recorded is bounded when the recording ends.

    Yields:
        A function that returns what was printed, if it was not shown whole; for a failure file.
    """
    names = [] if _Recording.path else ["stdout", "stderr"]
    before = {name: getattr(sys, name) for name in names}
    streams = {name: BoundedStream(stream) for name, stream in before.items() if stream is not None}
    for name, stream in streams.items():
        setattr(sys, name, stream)
    try:
        yield lambda: "".join([*(stream.text() for stream in streams.values()), _long_record()])
    finally:
        for name, stream in streams.items():
            setattr(sys, name, before[name])
            stream.end()


def _more(count: int) -> str:
    return f"\n... ({count:,} more characters of output are not shown)\n"


def stdout_to_stderr() -> None:
    """Send all that this process prints to standard error: standard output is that of its parent's command."""
    with suppress(OSError):  # one of them is closed
        os.dup2(_STDERR, _STDOUT)


# -- standard error of a worker ----------------------------------------------------------------------------------------


@contextmanager
def recorded_stderr(path: Path) -> Iterator[None]:
    """Record both streams in a file, with the Python stack if the process crashes or gets SIGTERM.

    A lease beside the file is held meanwhile. At the end its beginning goes to the real standard error, and the file is
    removed.
    """
    before = {stream: os.dup(stream) for stream in (_STDOUT, _STDERR)}
    with lease(_lease(path)), path.open("w+b") as file:
        _flush()
        for stream in before:
            os.dup2(file.fileno(), stream)
        faulthandler.enable(_STDERR)
        if hasattr(faulthandler, "register"):  # not on Windows
            faulthandler.register(signal.SIGTERM, _STDERR, all_threads=True, chain=True)
        _Recording.path = path
        try:
            yield
        finally:
            _Recording.path = None
            _flush()
            if hasattr(faulthandler, "unregister"):
                faulthandler.unregister(signal.SIGTERM)
            faulthandler.disable()
            for stream, real in before.items():
                os.dup2(real, stream)
                os.close(real)
            with suppress(PermissionError):  # Windows keeps a file that is open
                path.unlink(missing_ok=True)
            file.seek(0)
            shown, size = file.read(SHOWN), os.fstat(file.fileno()).st_size
            with os.fdopen(os.dup(_STDERR), "wb") as error, suppress(OSError):
                error.write(shown + (_more(size - SHOWN).encode() if size > SHOWN else b""))


def read_stderr(path: Path) -> str:
    """Return the last 64 KiB of recorded standard error; empty if there is no file."""
    try:
        return path.read_bytes()[-_TAIL:].decode(errors="replace")
    except OSError:
        return ""


def is_abandoned(path: Path) -> bool:
    """Return whether standard error was being recorded in a file by a process that has ended."""
    return abandoned(_lease(path))


def _lease(path: Path) -> Path:
    return path.with_name(f"{path.name}.lease")


def _long_record() -> str:
    """What was recorded of this process, if it will not be shown whole; else an empty text."""
    if _Recording.path is None:
        return ""
    _flush()
    if os.fstat(_STDERR).st_size <= SHOWN:
        return ""
    try:
        with _Recording.path.open("rb") as file:
            return file.read(_HELD).decode(errors="replace")
    except OSError:  # a component may have removed it
        return ""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # a component may have closed or removed it
            stream.flush()
