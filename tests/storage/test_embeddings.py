"""Shards come back as they were written, and a damaged one is missing, not wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fusionkit.errors import DataError
from fusionkit.storage import embeddings
from fusionkit.storage.cache_folder import cache_folder
from fusionkit.storage.embeddings import SHARD, EmbeddingStore, shard_count


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
def test_any_rows_in_any_order_are_read_as_written(store: EmbeddingStore, shape: tuple[int, ...]) -> None:
    values = filled(store, shape)
    rows = np.array([9, 0, 5, 5, 3, 8])
    found = store.read("k", rows)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values[rows].astype(np.float32))


def test_no_rows_are_no_rows(store: EmbeddingStore) -> None:
    filled(store)
    assert len(store.read("k", np.array([], dtype=int))) == 0


def test_only_absent_shards_are_missing(store: EmbeddingStore) -> None:
    filled(store)
    assert store.missing("k", 10, verify=True) == []
    assert store.missing("k", 13, verify=False) == [2, 3]  # the third has two rows, and would have four
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
    with pytest.raises(DataError, match=r"00001 is missing or damaged \(run again to recompute it\)"):
        store.read("k", np.array([0, 4]))
    assert store.read("k", np.array([0, 8])).shape == (2, 3)  # the other shards still serve
    file.write_bytes(whole[:-1])
    assert store.missing("k", 10, verify=False) == [1]


def test_rows_are_read_into_an_array_of_the_stored_type(store: EmbeddingStore) -> None:
    values = filled(store, (2, 3))
    assert store.frame_format("k", 9) == ((2, 3), np.dtype(np.float16))
    rows = np.array([9, 0, 5, 5, 3])
    out = np.empty((5, 2, 3), np.float16)
    store.read_into(out, "k", rows)
    np.testing.assert_array_equal(out, values[rows])
    assert store.present("k", rows).tolist() == [True, True, False, False, True]


def test_values_are_mapped_and_not_kept(store: EmbeddingStore) -> None:
    filled(store)
    values = store._map("k", 1)
    assert isinstance(values.base, np.memmap)
    assert not values.flags.writeable


def test_a_shard_is_checked_once_and_again_when_its_file_has_changed(
    store: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(store)
    checked: list[str] = []
    checking = embeddings.check_artifact
    monkeypatch.setattr(embeddings, "check_artifact", lambda folder: checked.append(folder.name) or checking(folder))
    for _ in range(3):
        store.read("k", np.array([0, 5]))
        assert store.has("k", 0, verify=True)
    assert checked == ["00000", "00001"]
    file = tmp_path / "embeddings" / "k" / "00001" / "values.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert not store.has("k", 1, verify=True)
    with pytest.raises(DataError, match="00001 is missing or damaged"):
        store.read("k", np.array([5]))
    store.write("k", 1, np.ones((4, 3), np.float16), ())
    assert store.read("k", np.array([5])).tolist() == [[1, 1, 1]]


def test_a_shard_without_its_marker_is_missing_though_its_values_were_checked(
    store: EmbeddingStore, tmp_path: Path
) -> None:
    filled(store)
    assert store.has("k", 1, verify=True)
    (tmp_path / "embeddings" / "k" / "00001" / "done.json").unlink()
    assert store.missing("k", 10, verify=True) == [1]


def test_many_shards_are_read_without_holding_their_files_open(store: EmbeddingStore) -> None:
    filled(store, rows=400)
    before = len(list(Path("/proc/self/fd").iterdir()))
    found = store.read("k", np.arange(400))
    assert len(found) == 400
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_unreadable_frames_are_stored_by_name(store: EmbeddingStore) -> None:
    filled(store)
    assert store.unreadable("k", 10) == ["frame 0", "frame 1", "frame 2"]


def test_metadata_come_the_newest_embedding_first_from_its_first_readable_shard(
    store: EmbeddingStore, tmp_path: Path
) -> None:
    for index in (0, 1):
        store.write("old", index, np.ones((4, 3), np.float16), (), "old", 0.5 + index, {"view": "face"})
    store.write("new", 0, np.ones((2, 3), np.float16), (), "new", 0.25, {"view": "eye"})
    os.utime(tmp_path / "embeddings" / "old", (1, 1))
    found = [(note["about"], note["rows"], note["seconds"], note["record"]) for note in store.metas()]
    assert found == [("new", 2, 0.25, {"view": "eye"}), ("old", 4, 0.5, {"view": "face"})]
    (tmp_path / "embeddings" / "old" / "00000" / "values.npy").unlink()
    (tmp_path / "embeddings" / "new" / "00000" / "done.json").write_text("{", encoding="utf-8")
    os.utime(tmp_path / "embeddings" / "old", (1, 1))
    assert [(note["about"], note["seconds"]) for note in store.metas()] == [("old", 1.5)]


def test_the_cache_is_listed_and_pruned_while_others_write_and_delete_in_it(
    store: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "b", "c"):
        store.write(key, 0, np.zeros((2, 2), np.float16), (), about=f"about {key}")
    listed = {entry.key: entry for entry in store.entries()}
    known = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        if path.parent.parent.name == "a" and path.name == "values.npy":
            raise FileNotFoundError  # of a shard that is being made anew
        if path.name == "b" and path.parent.name == "embeddings":
            shutil.rmtree(path)  # just when somebody asks what it is
        return known(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    found = {entry.key: entry for entry in store.entries()}
    monkeypatch.undo()
    assert set(found) == {"a", "c"}
    assert found["c"] == listed["c"]
    assert found["a"].size < listed["a"].size
    for entry in listed.values():
        store.remove(entry)
    assert store.entries() == []


def test_stored_rows_are_counted_by_complete_shards(store: EmbeddingStore, tmp_path: Path) -> None:
    filled(store)
    assert store.stored_rows("k", 10) == 10
    (tmp_path / "embeddings" / "k" / "00002" / "values.npy").unlink()
    assert store.stored_rows("k", 10) == 8
    assert store.exists("k", 2)
    assert not store.exists("k", 3)
    assert store.stored_rows("other", 10) == 0


def test_a_shard_is_a_whole_number_of_batches() -> None:
    from fusionkit.engine.embed import BATCH

    assert SHARD % BATCH == 0


def test_the_number_of_shards_is_rounded_up() -> None:
    assert [shard_count(n) for n in (0, 1, SHARD, SHARD + 1)] == [0, 1, 1, 2]


def test_the_cache_folder_is_that_of_the_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSIONKIT_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("FUSIONKIT_CACHE")
    assert cache_folder().name == "fusionkit"
