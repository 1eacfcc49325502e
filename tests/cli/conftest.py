"""Fixtures that the tests of commands share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusionkit.api import RunOptions, bench


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run folder: 3 region sets, 2 fusions, 2 seeds. Read only: see `run_copy`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSIONKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("runs") / "run"
        bench(
            out=out,
            options=RunOptions(executor="serial"),
            datasets=["synthetic:train=8,val=6,test=6,clips=4,clip_length=8"],
            recipe={"epochs": 2},
            seeds=2,
            regions=["eye", "mouth", "face"],
            fusions=["plain-concat", "logit-mean"],
            smoothers=["none"],
        )
        yield out


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: empty, and of this test alone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
