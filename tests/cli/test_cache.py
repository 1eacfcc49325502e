"""``fusionkit cache``: listed and deleted embeddings."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import output_of

from fusionkit.storage.embeddings import EmbeddingStore


@pytest.fixture
def store(own_cache: Path) -> EmbeddingStore:
    store = EmbeddingStore(own_cache)
    for key, days in (("a" * 16, 40), ("b" * 16, 2)):
        store.write(key, 0, np.zeros((3, 4), np.float16), (), f"view {key[0]} by hog")
        used = time.time() - days * 86_400
        for file in own_cache.glob(f"embeddings/{key}/*/*"):
            os.utime(file, (used, used))
    return store


def test_embeddings_are_listed_with_size_and_age_the_oldest_first(store: EmbeddingStore) -> None:
    lines = output_of("cache").splitlines()
    size = sum(file.stat().st_size for file in store.root.glob(f"embeddings/{'a' * 16}/*/*"))
    assert lines[1].split() == ["aaaaaaaa", str(size), "bytes", "40.0", "view", "a", "by", "hog"]
    assert lines[2].split()[:1] == ["bbbbbbbb"]
    assert "2 embeddings" in lines[-1]


def test_only_old_embeddings_are_pruned(store: EmbeddingStore) -> None:
    assert "deleted 1 embeddings" in output_of("cache", "--prune", "--older-than", "30")
    assert store.has("b" * 16, 0, verify=True)
    assert not store.has("a" * 16, 0, verify=True)


def test_an_empty_cache_is_no_error() -> None:
    assert "0 embeddings, 0 bytes" in output_of("cache", "--prune")
