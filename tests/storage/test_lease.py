"""Leases: one holder at a time; those of ended processes are taken over, those of running ones are not."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fusionkit.errors import StorageError
from fusionkit.storage import lease as leases_module
from fusionkit.storage.lease import abandoned, held, lease, leases, waiting_lease

HUGE = json.dumps({"machine": leases_module._machine(), "pid": 10**30})
HOLDER = """
import sys, time
from pathlib import Path
from fusionkit.storage.lease import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
FORKING = """
import os, sys
from pathlib import Path
from fusionkit.storage.lease import held, lease
path = Path(sys.argv[1])
with lease(path):
    child = os.fork()
    if not child:
        sys.exit()  # leaves the context
    os.waitpid(child, 0)
    print(held(path))
"""


def test_a_held_lease_is_refused_and_a_released_one_is_free(tmp_path: Path) -> None:
    path = tmp_path / "work"
    with lease(path) as first:
        assert first
        with lease(path) as second:
            assert not second
        assert path.exists(), "who was refused does not take the holder's file away"
    with lease(path) as again:
        assert again
    assert list(tmp_path.iterdir()) == []


def test_the_lease_of_a_process_that_has_ended_is_taken_over(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / "work"
    path.write_text(json.dumps({"machine": leases_module._machine(), "pid": gone.pid}), encoding="utf-8")
    with lease(path) as mine:
        assert mine


def test_the_lease_of_a_killed_process_is_free_before_its_parent_notices(tmp_path: Path) -> None:
    path = tmp_path / "work"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    with lease(path) as mine:
        assert not mine
    assert not abandoned(path)
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert abandoned(path)
    with lease(path) as mine:
        assert mine
    holder.communicate()


def test_a_forked_process_leaves_the_lease_of_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "work"
    done = subprocess.run([sys.executable, "-c", FORKING, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("age", "free"), [(leases_module.STALE + 5, True), (leases_module.STALE - 30, False), (-200, True)]
)
def test_the_lease_of_another_machine_is_taken_over_once_it_is_no_longer_touched(
    tmp_path: Path, age: float, free: bool
) -> None:
    path = tmp_path / "work"
    path.write_text(json.dumps({"machine": "another machine", "pid": 1}), encoding="utf-8")
    then = time.time() - age
    os.utime(path, (then, then))
    with lease(path) as mine:
        assert mine is free


def test_a_lease_that_is_created_and_not_written_yet_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "work"
    path.touch()
    with lease(path) as mine:
        assert not mine


@pytest.mark.parametrize("text", ["", "{", "[]", '{"machine": 1}', '{"pid": "x"}', HUGE, "\x80\x81"])
def test_a_lease_with_unreadable_content_is_judged_by_its_age(tmp_path: Path, text: str) -> None:
    path = tmp_path / "work"
    path.write_text(text, encoding="latin-1")
    with lease(path) as mine:
        assert not mine
    assert held(path)
    assert not abandoned(path)
    then = time.time() - leases_module.STALE - 5
    os.utime(path, (then, then))
    assert not held(path)
    with lease(path) as mine:
        assert mine


def test_age_is_measured_by_the_clock_of_the_folder_not_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "work"
    path.write_text(json.dumps({"machine": "another machine", "pid": 1}), encoding="utf-8")
    for skew in (-3600.0, 3600.0):
        monkeypatch.setattr(time, "time", lambda skew=skew: skew)
        with lease(path) as mine:
            assert not mine


def test_a_process_id_of_another_machine_of_the_same_name_does_not_count_as_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / "work"
    name, *rest = leases_module._machine().split(" ")
    assert name == socket.gethostname()
    assert rest, "nothing but its name tells this machine from another"
    path.write_text(
        json.dumps({"machine": " ".join([name, "another boot", *rest[1:]]), "pid": gone.pid}), encoding="utf-8"
    )
    assert held(path)
    with lease(path) as mine:
        assert not mine


def test_removing_a_dead_lease_keeps_that_of_a_new_holder_with_the_same_inode(tmp_path: Path) -> None:
    """A file system gives the number of a file that is gone to the next one."""
    path = tmp_path / "work"
    path.write_text(json.dumps({"machine": "another machine", "pid": 1}), encoding="utf-8")
    then = time.time() - leases_module.STALE - 5
    os.utime(path, (then, then))
    dead = leases_module._dead(path)
    assert dead is not None
    os.utime(path)  # the same number, and a new holder's time
    assert not leases_module._clear(path, dead)
    assert path.exists()


def test_a_lease_that_cannot_be_written_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(StorageError, match="the disk is full"), lease(tmp_path / "work"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_checking_whether_a_lease_is_held_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "work"
    assert not held(path)
    with lease(path):
        assert held(path)
        assert list(tmp_path.iterdir()) == [path]
    assert not held(path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(json.dumps({"machine": leases_module._machine(), "pid": gone.pid}), encoding="utf-8")
    assert not held(path)
    path.write_text(json.dumps({"machine": "another machine", "pid": 1}), encoding="utf-8")
    assert held(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_held_lease_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "HEARTBEAT", 0.02)
    monkeypatch.setattr(leases_module, "_HEARTBEAT", leases_module._Heartbeat())
    path = tmp_path / "work"
    with lease(path):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 120
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


def test_of_several_leases_the_free_ones_are_acquired(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    with lease(paths[1]), leases(paths) as mine:
        assert mine == [True, False, True]


def test_waiting_ends_when_the_holder_releases_the_lease(tmp_path: Path) -> None:
    path = tmp_path / "work"
    order: list[str] = []

    def second() -> None:
        with waiting_lease(path, poll=0.01):
            order.append("second")

    with lease(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join(120)
    assert order == ["first", "second"]


def test_many_threads_never_hold_one_lease_together(tmp_path: Path) -> None:
    path = tmp_path / "work"
    inside, worst, done = [0], [0], [0]
    lock = threading.Lock()

    def work() -> None:
        for _ in range(20):
            with waiting_lease(path, poll=0.0005):
                with lock:
                    inside[0] += 1
                    worst[0] = max(worst[0], inside[0])
                time.sleep(0.0002)
                with lock:
                    inside[0] -= 1
                    done[0] += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert worst[0] == 1
    assert done[0] == 80
