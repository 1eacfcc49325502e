"""What every test shares: a cache of its own, so that no test reads what another, or a user's run, has stored."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The embedding cache of this test alone; commands that a test starts inherit it."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("FUSIONKIT_CACHE", str(cache))
    return cache
