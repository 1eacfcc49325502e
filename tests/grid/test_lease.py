"""Leases: one holder at a time, the dead are taken over, the living are not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fusionkit.grid import lease as leases_module
from fusionkit.grid.lease import held, lease, leases, waiting_lease


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


def test_the_lease_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / "work"
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": gone.pid}))
    with lease(path) as mine:
        assert mine


@pytest.mark.parametrize(("age", "free"), [(leases_module.STALE + 5, True), (leases_module.STALE - 30, False)])
def test_the_lease_of_another_machine_is_taken_over_once_it_is_no_longer_touched(
    tmp_path: Path, age: float, free: bool
) -> None:
    path = tmp_path / "work"
    path.write_text(json.dumps({"host": "another machine", "pid": 1}))
    then = time.time() - age
    os.utime(path, (then, then))
    with lease(path) as mine:
        assert mine is free


def test_a_lease_that_was_made_and_not_written_yet_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "work"
    path.touch()
    with lease(path) as mine:
        assert not mine


def test_whether_a_lease_is_held_is_seen_from_outside_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "work"
    assert not held(path)
    with lease(path):
        assert held(path)
        assert list(tmp_path.iterdir()) == [path]
    assert not held(path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": gone.pid}))
    assert not held(path)
    path.write_text(json.dumps({"host": "another machine", "pid": 1}))
    assert held(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_held_lease_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "HEARTBEAT", 0.02)
    monkeypatch.setattr(leases_module, "_HEART", leases_module._Heart())
    path = tmp_path / "work"
    with lease(path):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


def test_of_several_leases_those_that_are_free_are_got(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    with lease(paths[1]), leases(paths) as mine:
        assert mine == [True, False, True]


def test_waiting_ends_when_the_holder_lets_go(tmp_path: Path) -> None:
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
    thread.join(5)
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
        thread.join(30)
    assert worst[0] == 1
    assert done[0] == 80
