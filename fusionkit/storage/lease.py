"""Leases: which process holds a task's lock, among processes that share a folder and perhaps nothing else.

A lease is a file that is created exclusively and touched while its holder runs. The lease of a dead holder is taken
over; at worst a task is then computed twice, which is harmless: the results are equal and written atomically.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from fusionkit.storage.artifact import patiently, unwritable

HEARTBEAT = 5.0  # s between touches of a held lease
STALE = 60.0  # s without a touch after which a holder counts as dead; many heartbeats, since a busy machine may stall
AHEAD = 2 * HEARTBEAT  # s in the future beyond which a touch is no running holder's

_File = tuple[int, int]  # inode and time of the last touch: an inode alone is soon reused by another file


@contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Try to hold a lease while the context lasts.

    Args:
        path: path of the lease file; its folder is created.

    Yields:
        Whether this process holds it; if not, another running process does.

    Raises:
        StorageError: if the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        acquired = _claim(path)
        if not acquired:
            dead = _dead(path)
            acquired = dead is not None and _clear(path, dead) and _claim(path)
    except OSError as error:
        raise unwritable(path, error) from error
    if not acquired:
        yield False
        return
    _HEARTBEAT.hold(path)
    try:
        yield True
    finally:
        if _HEARTBEAT.release(path):
            patiently(lambda: path.unlink(missing_ok=True))


@contextmanager
def leases(paths: list[Path]) -> Iterator[list[bool]]:
    """Try to hold several leases at once. Yields which of them this process holds."""
    with ExitStack() as stack:
        yield [stack.enter_context(lease(path)) for path in paths]


@contextmanager
def waiting_lease(path: Path, poll: float = 0.2) -> Iterator[None]:
    """Hold a lease, waiting for it while another process holds it."""
    while True:
        with lease(path) as acquired:
            if acquired:
                yield
                return
        time.sleep(poll)


def held(path: Path) -> bool:
    """Return whether a running process holds a lease. In a read-only folder: whether the lease exists."""
    try:
        return path.exists() and _dead(path) is None and path.exists()
    except OSError:
        return True


def abandoned(path: Path) -> bool:
    """Return whether the holder of a lease was a process of this machine that has ended."""
    try:
        return _ended(_read(path)[1])
    except OSError:
        return False


def _claim(path: Path) -> bool:
    try:
        handle = patiently(lambda: os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({"machine": _machine(), "pid": os.getpid()}, stream)
    except OSError:  # a full disk; the remaining file would block the next run until it is stale
        path.unlink(missing_ok=True)
        raise
    return True


def _dead(path: Path) -> _File | None:
    """Return the file of a lease whose holder is dead; None if the holder runs or has just released it.

    A holder is dead if it has not touched the lease for long, or was a process of this machine that has ended. A touch
    in the future is of a clock that has been set back since; a running holder would have corrected it.
    """
    try:
        state, holder = _read(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise
    stale = _ended(holder) or not -AHEAD <= folder_time(path.parent) - state.st_mtime <= STALE
    return _file(state) if stale else None


def _read(path: Path) -> tuple[os.stat_result, Any]:
    """Return a lease's state and content. The content is None if it is not readable; then only the age counts."""
    # Opening asks the file server; a mere stat may be answered from a cache.
    with patiently(lambda: path.open("rb")) as stream:
        text, state = stream.read(), os.fstat(stream.fileno())
    try:
        return state, json.loads(text)
    except ValueError:  # just created and not written yet, or damaged
        return state, None


def _ended(holder: Any) -> bool:
    """Return whether a lease's holder was a process of this machine that has ended."""
    try:
        return holder["machine"] == _machine() and not _runs(int(holder["pid"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return False


@cache
def _machine() -> str:
    """Return an identifier of the scope in which process ids are unique.

    Host name, boot id and process namespace: machines may share a name, and containers do not share process ids.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def folder_time(folder: Path) -> float:
    """Return the current time by the clock that stamps files in a folder; on a network it is another machine's."""
    probe = folder / f".now.{secrets.token_hex(4)}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Return whether a process runs. One that has ended and that its parent has not noticed (a zombie) does not."""
    if os.name == "nt":  # there, os.kill would end it
        return bool(psutil.pid_exists(pid))
    # psutil.pid_exists does not see the processes of other users where /proc hides them (hidepid).
    try:
        os.kill(pid, 0)
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except (ProcessLookupError, psutil.ZombieProcess):
        return False
    except (PermissionError, psutil.Error):
        return True


def _file(state: os.stat_result) -> _File:
    return state.st_ino, state.st_mtime_ns


def _clear(path: Path, dead: _File) -> bool:
    """Remove a dead lease. If several processes try, the rename succeeds for one.

    A late process finds that it has renamed the lease of a new holder instead of the dead one, and puts it back.
    """
    renamed = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        patiently(lambda: path.rename(renamed))
    except FileNotFoundError:
        return True
    try:
        if _file(renamed.stat()) == dead:
            return True
        with suppress(OSError):  # a new holder, or no hard links here: at worst the task is computed twice
            os.link(renamed, path)
        return False
    finally:
        renamed.unlink(missing_ok=True)


class _Heartbeat:
    """Touches every held lease of this process, from one thread that starts with the first lease."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Hold no lease. A forked process needs this: leases are the parent's, and the thread is not copied."""
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

    def release(self, path: Path) -> bool:
        """Stop touching a lease. Returns whether it was held; in a forked process it is the parent's."""
        with self.lock:
            mine = path in self.held
            self.held.discard(path)
        return mine

    def _beat(self) -> None:
        if hasattr(signal, "pthread_sigmask"):  # signals are for the main thread, which may block them for a while
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self.never.wait(HEARTBEAT):
            with self.lock:
                held = list(self.held)
            for path in held:
                with suppress(OSError):  # released meanwhile, or taken over: results are written atomically anyway
                    os.utime(path)


_HEARTBEAT = _Heartbeat()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_HEARTBEAT.reset)
