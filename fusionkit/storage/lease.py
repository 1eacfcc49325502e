"""Leases: who is at a piece of work, among processes that share a folder and perhaps nothing else.

A lease is a file that is made exclusively and touched while its holder lives. A dead holder's lease is taken over; at
worst a piece of work is then done twice, which is harmless, since results are the same and written whole.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from fusionkit.storage.artifact import unwritable

HEARTBEAT = 5.0  # s between touches of a held lease
STALE = 60.0  # s without a touch after which a holder counts as dead; many heartbeats, since a busy machine may stall

_File = tuple[int, int]  # number and time of the last touch: the number alone soon belongs to another file


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
        return _ended(_read(path)[1])
    except OSError:
        return False


def _claim(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w") as stream:
            json.dump({"machine": _machine(), "pid": os.getpid()}, stream)
    except OSError:  # a full disk; what is left would hold up the next run until it is stale
        path.unlink(missing_ok=True)
        raise
    return True


def _dead(path: Path) -> _File | None:
    """The file of a lease whose holder is gone; None if the holder lives, or has just let go.

    Gone is who has not touched the lease for long, or was a process of this machine that is no more.
    """
    try:
        state, holder = _read(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise
    stale = _ended(holder) or folder_time(path.parent) - state.st_mtime > STALE
    return _file(state) if stale else None


def _read(path: Path) -> tuple[os.stat_result, Any]:
    """A lease's file and what is in it: None where that tells nothing, so that only its age can tell of the holder."""
    with path.open("rb") as stream:  # opening asks a file server anew, where a mere look may be answered from memory
        text, state = stream.read(), os.fstat(stream.fileno())
    try:
        return state, json.loads(text)
    except ValueError:  # just made and not written yet, or damaged
        return state, None


def _ended(holder: Any) -> bool:
    """Whether a lease's holder was a process of this machine that is no more."""
    try:
        return holder["machine"] == _machine() and not _runs(int(holder["pid"]))
    except (KeyError, TypeError, ValueError):
        return False


@cache
def _machine() -> str:
    """Where process numbers mean the same: machines may share a name, and containers on one of them do not share these.

    That is the host's name, its boot and its namespace of processes, as far as the system tells.
    """
    told = [socket.gethostname()]
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(told)


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


def _file(state: os.stat_result) -> _File:
    return state.st_ino, state.st_mtime_ns


def _clear(path: Path, dead: _File) -> bool:
    """Take a dead lease away. Of several who try, the rename lets one through.

    Whoever comes late finds that what it renamed is no longer the dead file but a new holder's, and puts it back.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    try:
        if _file(aside.stat()) == dead:
            return True
        with suppress(OSError):  # somebody holds it by now, or there are no links here: at worst the work is done twice
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
