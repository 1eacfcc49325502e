"""Folders are tried, not asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fusionkit.doctor import environment as module
from fusionkit.doctor.environment import Finding
from fusionkit.storage.embeddings import EmbeddingStore


def cache() -> Finding:
    return next(finding for finding in module.places() if finding.name == "cache")


def test_a_cache_that_is_not_there_yet_is_fine_and_is_not_made(own_cache: Path) -> None:
    assert cache().state == "ok"
    assert "0 embeddings" in cache().value
    assert not own_cache.exists()


def test_what_the_cache_holds_is_counted(own_cache: Path) -> None:
    EmbeddingStore(own_cache).write("ab" * 16, 0, np.zeros((3, 4), np.float32), [])
    assert "1 embeddings" in cache().value


def test_a_cache_below_a_file_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / "file" / "cache"))
    assert cache().state == "broken"
    assert "FUSIONKIT_CACHE" in cache().advice


def test_a_full_disk_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert {finding.state for finding in module.places()} == {"warning"}


def test_the_home_folder_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert module.short(tmp_path / "a" / "b") == "~/a/b"
    assert module.short(Path("/elsewhere")) == "/elsewhere"
