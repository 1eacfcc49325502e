"""Folders are tested by writing to them."""

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
    return next(finding for finding in module.folders() if finding.name == "cache")


def test_a_missing_cache_is_ok_and_not_created(own_cache: Path) -> None:
    assert cache().state == "ok"
    assert "0 embeddings" in cache().value
    assert not own_cache.exists()


def test_the_embeddings_of_the_cache_are_counted(own_cache: Path) -> None:
    EmbeddingStore(own_cache).write("ab" * 16, 0, np.zeros((3, 4), np.float32), [])
    assert "1 embeddings" in cache().value


def test_a_cache_below_a_file_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / "file" / "cache"))
    assert cache().state == "broken"
    assert "FUSIONKIT_CACHE" in cache().advice


def test_a_full_disk_gives_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert {finding.state for finding in module.folders()} == {"warning"}


def test_the_home_folder_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert module.shortened(tmp_path / "a" / "b") == "~/a/b"
    assert module.shortened(Path("/elsewhere")) == "/elsewhere"
