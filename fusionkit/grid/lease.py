"""Leases: who is at a piece of work, among processes that share a folder and perhaps nothing else.

A lease is a file that is made exclusively and touched while its holder lives. A dead holder's lease is taken over; at
worst a piece of work is then done twice, which is harmless, since results are the same and written whole.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HEARTBEAT = 5.0  # s between touches of a held lease
STALE = 60.0  # s without a touch after which a holder counts as dead; many heartbeats, since a busy machine may stall


@contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Try to hold a lease while the context lasts.

    Args:
        path: of the lease file; its folder is made.

    Yields:
        Whether it is ours; if not, somebody alive holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mine = _claim(path) or (_is_dead(path) and _clear(path) and _claim(path))
    if not mine:
        yield False
        return
    _HEART.hold(path)
    try:
        yield True
    finally:
        _HEART.release(path)
        path.unlink(missing_ok=True)


@contextmanager
def leases(paths: list[Path]) -> Iterator[list[bool]]:
    """Try to hold several leases at once; which of them are ours."""
    with ExitStack() as stack:
        yield [stack.enter_context(lease(path)) for path in paths]


@contextmanager
def waiting_lease(path: Path, poll: float = 0.2) -> Iterator[None]:
    """Hold a lease, waiting for it as long as its holder lives."""
    while True:
        with lease(path) as mine:
            if mine:
                yield
                return
        time.sleep(poll)


def _claim(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as stream:
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, stream)
    return True


def _is_dead(path: Path) -> bool:
    """Whether the holder is a process of this machine that is gone, or has not touched the lease for long."""
    try:
        holder = json.loads(path.read_text())
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        holder = {}  # just made, and not written yet: only its age can tell
    if holder.get("host") == socket.gethostname() and not _runs(int(holder["pid"])):
        return True
    try:
        return _folder_time(path.parent) - path.stat().st_mtime > STALE
    except FileNotFoundError:
        return True


def _folder_time(folder: Path) -> float:
    """Now, by the clock that stamps files in this folder: on a network that is another machine's."""
    probe = folder / f".now.{secrets.token_hex(4)}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _clear(path: Path) -> bool:
    """Take a dead lease away; of several who try, the rename lets one through."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    aside.unlink(missing_ok=True)
    return True


class _Heart:
    """Touches every held lease of this process, from one thread that runs while there is any."""

    def __init__(self) -> None:
        self.held: set[Path] = set()
        self.lock = threading.Lock()
        self.never = threading.Event()
        self.thread: threading.Thread | None = None

    def hold(self, path: Path) -> None:
        with self.lock:
            self.held.add(path)
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self._beat, name="fusionkit-leases", daemon=True)
                self.thread.start()

    def release(self, path: Path) -> None:
        with self.lock:
            self.held.discard(path)

    def _beat(self) -> None:
        while not self.never.wait(HEARTBEAT):
            with self.lock:
                held = list(self.held)
            for path in held:
                try:
                    os.utime(path)
                except OSError:
                    continue  # released in between, or taken over: results are written whole either way


_HEART = _Heart()
