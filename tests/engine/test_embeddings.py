"""Shards come back as they were written, and a damaged one is missing, not wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusionkit.engine import embeddings
from fusionkit.engine.embeddings import SHARD, EmbeddingStore, cache_folder, shard_count
from fusionkit.errors import DataError


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingStore:
    monkeypatch.setattr(embeddings, "SHARD", 4)
    return EmbeddingStore(tmp_path)


def filled(store: EmbeddingStore, shape: tuple[int, ...] = (3,), rows: int = 10) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(rows, *shape)).astype(np.float16)
    values[5] = np.nan
    for index in range(shard_count(rows)):
        store.write("k", index, values[index * 4 : index * 4 + 4], [f"frame {index}"])
    return values


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_any_rows_in_any_order_come_back_as_written(store: EmbeddingStore, shape: tuple[int, ...]) -> None:
    values = filled(store, shape)
    rows = np.array([9, 0, 5, 5, 3, 8])
    found = store.read("k", rows)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values[rows].astype(np.float32))


def test_no_rows_are_no_rows(store: EmbeddingStore) -> None:
    filled(store)
    assert len(store.read("k", np.array([], dtype=int))) == 0


def test_only_the_shards_that_are_not_there_are_missing(store: EmbeddingStore) -> None:
    filled(store)
    assert store.missing("k", 10, verify=True) == []
    assert store.missing("k", 13, verify=False) == [3]
    assert store.missing("other", 10, verify=True) == [0, 1, 2]
    assert store.has("k", 2, verify=True)
    assert not store.has("k", 3, verify=True)


def test_a_flipped_bit_is_found_by_its_checksum_and_a_lost_byte_by_size_alone(
    store: EmbeddingStore, tmp_path: Path
) -> None:
    filled(store)
    file = tmp_path / "embeddings" / "k" / "00001" / "values.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 4]) + whole[-2:])
    assert store.missing("k", 10, verify=True) == [1]
    with pytest.raises(DataError, match=r"00001 is missing or damaged \(run again: it is made anew\)"):
        store.read("k", np.array([0, 4]))
    assert store.read("k", np.array([0, 8])).shape == (2, 3)  # the other shards still serve
    file.write_bytes(whole[:-1])
    assert store.missing("k", 10, verify=False) == [1]


def test_unreadable_frames_are_remembered_by_name(store: EmbeddingStore) -> None:
    filled(store)
    assert store.unreadable("k", 10) == ["frame 0", "frame 1", "frame 2"]


def test_a_shard_is_a_whole_number_of_batches() -> None:
    from fusionkit.engine.embed import BATCH

    assert SHARD % BATCH == 0


def test_the_number_of_shards_is_rounded_up() -> None:
    assert [shard_count(n) for n in (0, 1, SHARD, SHARD + 1)] == [0, 1, 1, 2]


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("FUSIONKIT_CACHE")
    assert cache_folder().name == "fusionkit"
