"""The pool of processes: how it starts."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fusionkit.grid.executors import Processes
from fusionkit.grid.tasks import Code

SITECUSTOMIZE = """
import os, sys, time
from pathlib import Path

class Waiting:
    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        folder = Path(os.environ["LOADING"])
        (folder / f"begun-{os.getpid()}").touch()
        until = time.monotonic() + 120
        while len(list(folder.glob("begun-*"))) < 2:
            if time.monotonic() > until:
                (folder / "alone").touch()
                break
            time.sleep(0.01)

sys.meta_path.insert(0, Waiting())
"""


@dataclass(frozen=True)
class Wait:
    """A task that lasts until two processes have one."""

    folder: Path
    device: str = "cpu"
    steps: int = 1

    def run(self, advance: Any) -> None:
        (self.folder / f"task-{os.getpid()}").touch()
        until = time.monotonic() + 120
        while len(list(self.folder.glob("task-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.01)


@pytest.mark.slow
def test_processes_load_their_libraries_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, the last of many would begin minutes after the first."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(SITECUSTOMIZE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    monkeypatch.setenv("LOADING", str(tmp_path))
    tasks = [Wait(tmp_path), Wait(tmp_path)]
    done = list(Processes(2, None, Code((), ()), 0).run(tasks, lambda _: None))  # type: ignore[arg-type]
    assert [failure for _, failure in done] == [None, None]
    assert len(list(tmp_path.glob("begun-*"))) == 2
    assert not (tmp_path / "alone").exists()
