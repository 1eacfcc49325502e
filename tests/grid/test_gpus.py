"""Every worker has a GPU of its own, or shares one. The tests check the settings of workers, and need no GPU."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fusionkit.grid.executors import Processes, free_gpu_memory, gpus_of, workers_on
from fusionkit.grid.tasks import Code, Failure


@pytest.mark.parametrize(
    ("device", "visible", "count", "expected"),
    [
        ("cpu", None, 4, ()),
        ("cuda", None, 3, ("0", "1", "2")),
        ("cuda:1", None, 3, ("1",)),
        ("cuda", "2, 5", 2, ("2", "5")),
        ("cuda:1", "2,5", 2, ("5",)),
        ("cuda", "GPU-ab,GPU-cd", 2, ("GPU-ab", "GPU-cd")),
        ("cuda", "0,9", 1, ("0",)),
    ],
)
def test_a_device_stands_for_what_this_process_sees(
    device: str, visible: str | None, count: int, expected: tuple[str, ...]
) -> None:
    assert gpus_of(device, visible, count) == expected


@pytest.mark.parametrize(
    ("gpus", "asked", "free", "embedding", "expected"),
    [
        ((), 0, 0, True, 16),
        ((), 3, 0, False, 3),
        (("0",), 0, 80, True, 8),  # two cores each
        (("0", "1"), 0, 80, True, 8),
        (("0",), 0, 11, True, 2),  # 4 GiB each
        (("0", "1"), 0, 2, True, 2),  # at least one per GPU
        (("0", "1"), 1, 80, True, 1),
        (("0", "1"), 9, 80, True, 8),
        (("0", "1"), 0, 80, False, 8),  # four a GPU
        (("0", "1", "2", "3", "4"), 0, 80, False, 16),  # never more than cores
        (("0", "1"), 3, 80, False, 3),
    ],
)
def test_processes_share_gpus_as_cores_and_memory_allow(
    gpus: tuple[str, ...], asked: int, free: float, embedding: bool, expected: int
) -> None:
    assert workers_on(gpus, asked, cores=16, free=free, embedding=embedding) == expected


@pytest.mark.skipif(os.name != "posix", reason="the stand-in is a shell script")
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("echo '81920, Default'; echo '20480, Default'", 20.0),
        ("echo '81920, Default'; echo '20480, Exclusive_Process'", 0.0),
        ("echo '[N/A], Default'", 0.0),
        ("echo 'No devices were found'; exit 6", 0.0),
    ],
)
def test_free_memory_is_that_of_the_fullest_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, expected: float
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{answer}\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert free_gpu_memory(("2", "GPU-ab")) == expected
    assert "--id=2,GPU-ab" in (tmp_path / "asked").read_text(encoding="utf-8")
    assert free_gpu_memory(()) == 0.0


def test_without_nvidia_smi_no_memory_is_counted_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert free_gpu_memory(("0",)) == 0.0


@dataclass(frozen=True)
class GpuTask:
    """A task that records its process and visible device; with ``dies``, its process ends the first time."""

    name: str
    folder: Path
    dies: bool = False
    device: str = "cuda"
    steps: int = 1

    def run(self, advance: Any) -> Failure | None:
        first = not (self.folder / self.name).exists()
        (self.folder / self.name).write_text(
            f"{os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']} {self.device}", encoding="utf-8"
        )
        if self.dies and first:
            os._exit(3)
        deadline = time.monotonic() + 120
        while len(list(self.folder.iterdir())) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)  # until two workers and the one in place of the lost worker have been seen
        return None


@pytest.mark.slow
@pytest.mark.usefixtures("forked_workers")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_share_the_gpus_evenly_and_a_lost_workers_gpu_is_reused(tmp_path: Path) -> None:
    tasks = [GpuTask(f"{number}", tmp_path, dies=number == 0) for number in range(6)]
    executor = Processes(3, None, Code((), ()), gpus=("7", "GPU-b"))
    results = list(executor.run(tasks, lambda _: None))  # type: ignore[arg-type]
    assert [failure for _, failure in results] == [None] * 6
    noted = [(tmp_path / task.name).read_text(encoding="utf-8").split() for task in tasks[1:]]
    assert {device for _, _, device in noted} == {"cuda:0"}
    by_worker = {pid: gpu for pid, gpu, _ in noted}
    assert all(by_worker[pid] == gpu for pid, gpu, _ in noted)  # a worker keeps its GPU
    assert set(by_worker.values()) == {"7", "GPU-b"}
    at_once = Counter(by_worker.values())
    assert at_once["7"] <= 3  # slots 0 and 2, one of them twice where the lost worker's was taken over
    assert "CUDA_VISIBLE_DEVICES" not in os.environ or os.environ["CUDA_VISIBLE_DEVICES"] != "7"
