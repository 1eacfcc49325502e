"""Fixtures that the tests of commands share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from kept_frames import frames_kept

from fusionkit.api import bench


@pytest.fixture(autouse=True, scope="module")
def kept_frames() -> Iterator[None]:
    """Draw each frame of the synthetic data set once."""
    with frames_kept():
        yield


def _bench(out: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, frames_kept():
        patch.setenv("FUSIONKIT_CACHE", str(out.parent / "cache"))
        bench(
            out=out,
            executor="serial",
            datasets=["synthetic:train=8,val=6,test=6,clips=4,clip_length=8"],
            recipe={"epochs": 2},
            seeds=2,
            regions=["eye", "mouth", "face"],
            fusions=["plain-concat", "logit-mean"],
            smoothers=["none"],
        )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder: 3 region sets, 2 fusions, 2 seeds. Read only: see `run_copy`."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fusionkit.report.page.write.write_report", lambda *_, **__: None)
        _bench(out)
    return out


@pytest.fixture(scope="session")
def finished_page(finished_run: Path) -> Path:
    """The page of the finished run, as ``bench`` writes it: it takes longer than the run."""
    _bench(finished_run)
    return finished_run / "report.html"


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: empty, and of this test alone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
