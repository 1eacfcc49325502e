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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fusionkit.artifact import unwritable

HEARTBEAT = 5.0  # s between touches of a held lease
STALE = 60.0  # s without a touch after which a holder counts as dead; many heartbeats, since a busy machine may stall


@contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Try to hold a lease while the context lasts.

    Args:
        path: of the lease file; its folder is made.

    Yields:
        Whether it is ours; if not, somebody alive holds it.

    Raises:
        StorageError: if the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = _claim(path)
        if not mine:
            dead = _dead(path)
            mine = dead is not None and _clear(path, dead) and _claim(path)
    except OSError as error:
        raise unwritable(path, error) from error
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


def held(path: Path) -> bool:
    """Whether somebody alive holds a lease; in a folder that cannot be written, whether there is one."""
    try:
        return path.exists() and _dead(path) is None and path.exists()
    except OSError:
        return True


def abandoned(path: Path) -> bool:
    """Whether a lease is there whose holder was a process of this machine and is no more: it cannot wake up again."""
    try:
        holder = json.loads(path.read_text() or "{}")
    except OSError:
        return False
    return holder.get("host") == socket.gethostname() and not _runs(int(holder["pid"]))


def _claim(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as stream:
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, stream)
    return True


def _dead(path: Path) -> int | None:
    """The file (its inode) of a lease whose holder is gone; None if the holder lives, or has just let go.

    Gone is who has not touched the lease for long, or was a process of this machine that is no more.
    """
    try:
        state = path.stat()
        text = path.read_text()
    except FileNotFoundError:
        return None
    holder = json.loads(text) if text else {}  # just made, and not written yet: only its age can tell
    if holder.get("host") == socket.gethostname() and not _runs(int(holder["pid"])):
        return state.st_ino
    return state.st_ino if folder_time(path.parent) - state.st_mtime > STALE else None


def folder_time(folder: Path) -> float:
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


def _clear(path: Path, dead: int) -> bool:
    """Take a dead lease away. Of several who try, the rename lets one through.

    Whoever comes late finds that what it renamed is no longer the dead file but a new holder's, and puts it back.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    try:
        if aside.stat().st_ino == dead:
            return True
        with suppress(FileExistsError):
            os.link(aside, path)
        return False
    finally:
        aside.unlink(missing_ok=True)


class _Heart:
    """Touches every held lease of this process, from one thread that runs while there is any."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Hold nothing; in a forked process too, where the leases are the parent's and the thread is not there."""
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
                with suppress(OSError):  # released in between, or taken over: results are written whole either way
                    os.utime(path)


_HEART = _Heart()
os.register_at_fork(after_in_child=_HEART.begin)
