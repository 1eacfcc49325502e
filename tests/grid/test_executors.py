"""Processes of a pool: forked from one server that has the libraries loaded, with the environment of their parent."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fusionkit.grid.executors import Processes
from fusionkit.grid.tasks import Code

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Look:
    """A task that notes what its process sees."""

    file: Path
    device: str = "cpu"
    steps: int = 1

    def run(self, advance: Any) -> None:
        import torch

        seen = os.getppid(), os.environ.get("SEEN", ""), os.environ["OMP_NUM_THREADS"], torch.get_num_threads()
        self.file.write_text(" ".join(map(str, seen)), encoding="utf-8")


def seen(path: Path) -> list[str]:
    done = list(Processes(1, None, Code((), ()), 0).run([Look(path)], lambda _: None))  # type: ignore[arg-type]
    assert [failure for _, failure in done] == [None]
    return path.read_text(encoding="utf-8").split()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are spawned on other systems")
def test_processes_are_forked_from_one_server_and_see_the_environment_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEN", "first")
    server, first, *threads = seen(tmp_path / "a")
    monkeypatch.setenv("SEEN", "second")
    same, second, *_ = seen(tmp_path / "b")
    assert server == same != str(os.getpid())
    assert (first, second) == ("first", "second")
    assert threads == ["1", "1"]
