"""A run that is killed again and again loses nothing: its results are the bytes of an uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.slow
def test_twelve_kills_lose_nothing(chaos: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos, "FRESH", 0.0)  # a fresh process takes longer to start than to be killed and resumed
    with chaos.forking() as fork:
        report = chaos.Chaos(tmp_path, fork, ("serial", "processes"), seed=1).run(12)
    assert report.wrong == [], report.left
    assert report.kills >= 12
    assert report.moments.total() == report.kills
    assert report.moments.keys() & {"embed", "fit", "score"}, "every kill came before the work or after it"
    assert report.files == 2 + 10 * 4 + 20 * 2 + 8  # tables, heads, cells, the rows of one fold


def test_a_run_that_lost_something_is_told_from_one_that_did_not(chaos: ModuleType, tmp_path: Path) -> None:
    for name in ("whole", "other"):
        for file in ("heads/a/dev_logits.npy", "results.csv", "heads/.a.0123/dev_logits.npy"):
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_bytes(b"12")
    assert set(chaos.contents(tmp_path / "whole")) == {"heads/a/dev_logits.npy", "results.csv"}
    assert chaos.contents(tmp_path / "whole") == chaos.contents(tmp_path / "other")
    (tmp_path / "other/heads/a/dev_logits.npy").write_bytes(b"13")
    assert chaos.contents(tmp_path / "whole") != chaos.contents(tmp_path / "other")
