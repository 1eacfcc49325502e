"""A worker's share of memory: what is available is read from the system, and a ceiling that is reached is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from fusionkit.errors import out_of_memory
from fusionkit.grid import memory
from fusionkit.grid.memory import GIB, available_memory, share


def group(folder: Path, names: tuple[str, str, str], limit: str, used: int, inactive: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n", encoding="utf-8")
    (folder / names[1]).write_text(f"{used}\n", encoding="utf-8")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {inactive}\n", encoding="utf-8")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * GIB))
    return tmp_path


def available(system: Path, groups: str) -> int:
    (system / "groups").write_text(groups, encoding="utf-8")
    return available_memory(system / "groups")


def test_without_a_container_the_machine_decides(system: Path) -> None:
    assert available(system, "0::/\n") == 8 * GIB
    assert available_memory(system / "nothing") == 8 * GIB


def test_the_tightest_group_above_decides_and_what_can_be_dropped_counts_as_free(system: Path) -> None:
    v2 = ("memory.max", "memory.current", "inactive_file")
    group(system / "a/b", v2, "max", 3 * GIB, 0)
    group(system / "a", v2, str(4 * GIB), 3 * GIB, GIB // 2)
    assert available(system, "0::/a/b\n") == 3 * GIB // 2


def test_older_groups_are_read_too_and_a_container_sees_its_own_at_the_root(system: Path) -> None:
    v1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    group(system / "memory", v1, str(2 * GIB), GIB, 0)
    assert available(system, "9:name=systemd:/x\n4:memory:/docker/0123\n0::/\n") == GIB


@pytest.mark.parametrize(
    ("room", "workers", "expected"),
    [(100.0, 4, 22.5), (100.0, 64, 4.0), (2.0, 4, 1.8), (100.0, 1, 90.0)],
)
def test_a_share_is_most_of_what_there_is_but_never_too_little(
    monkeypatch: pytest.MonkeyPatch, room: float, workers: int, expected: float
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: int(room * GIB))
    assert share(workers) == pytest.approx(expected)


def test_peak_memory_counts_what_was_freed_again() -> None:
    before = psutil.Process().memory_info().rss / 2**20
    np.ones(2**25)  # 256 MiB
    assert before + 200 < memory.peak_memory() < before + 20_000


GREEDY = """
import threading
import numpy as np, torch
from fusionkit.errors import CellError
from fusionkit.grid.memory import headroom, memory_exhausted, set_ceiling
from fusionkit.grid.tasks import attempt

class Task:
    def run(self, advance):
        kept.append(np.ones(3 * 2**24))  # 0.375 GiB: more than half of the ceiling, and twice is more than all of it
        try:
            kept.append(np.ones(3 * 2**24))
        except MemoryError as error:
            raise CellError("a plugin failed") from error

kept = []
set_ceiling(0.5)
torch.ones(2**26)  # 0.25 GiB, and given back
assert not memory_exhausted()
failure = attempt(Task(), None)
print(failure.message, failure.retryable, "MemoryError" in failure.trace)
print(memory_exhausted())
kept.clear()
print(memory_exhausted())
with headroom():
    np.ones(2**27)
try:
    np.ones(2**27)
except MemoryError:
    print("again")
set_ceiling(None)
kept.append(np.ones(2**27))
set_ceiling(0.5)  # beside the GiB that is in use now: a thread that found no memory would never start
np.ones(2**25)
thread = threading.Thread(target=print, args=["a thread"])
thread.start()
thread.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits private memory")
def test_a_ceiling_is_an_error_that_names_itself_and_may_be_retried() -> None:
    done = subprocess.run([sys.executable, "-c", GREEDY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ran out of the 0.5 GiB that a worker may use (--worker-memory): a plugin failed True True",
        "True",
        "False",
        "again",
        "a thread",
    ]


def test_each_librarys_own_words_for_it_are_known() -> None:
    import cv2
    import numpy as np
    import torch

    for take in (
        lambda: np.ones(2**58),
        lambda: torch.ones(2**58),
        lambda: bytearray(2**60),
        lambda: cv2.resize(np.zeros((2, 2, 3), np.uint8), (2**28, 2**28)),
    ):
        with pytest.raises((MemoryError, RuntimeError, cv2.error)) as caught:
            take()
        assert out_of_memory(caught.value), repr(caught.value)
    assert out_of_memory(RuntimeError("std::bad_alloc"))
    assert not out_of_memory(RuntimeError("shapes differ"))
    assert not out_of_memory(ValueError("std::bad_alloc"))
