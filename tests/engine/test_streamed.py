"""Streamed features give batches in order, and read many of them together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusionkit.engine.features import FeaturesInStore, Scaling
from fusionkit.storage import embeddings
from fusionkit.storage.embeddings import EmbeddingStore

ROWS = np.array([3, 17, 18, 0, 9, 30, 31, 12])  # of the embeddings


@pytest.fixture
def values() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(32, 5)).astype(np.float16)
    values[9] = np.nan
    return values


@pytest.fixture
def store(tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> EmbeddingStore:
    monkeypatch.setattr(embeddings, "SHARD", 8)
    store = EmbeddingStore(tmp_path)
    for index in range(4):
        store.write("k", index, values[index * 8 : index * 8 + 8], ())
    return store


def part(store: EmbeddingStore, window: int) -> FeaturesInStore:
    scaling = Scaling(np.full(5, 2, np.float32), np.full(5, 4, np.float32), standardize=True)
    present = {"face": ROWS != 9}
    return FeaturesInStore(
        present, store, {"face": "k"}, {"face": store.frame_format("k", 0)}, ROWS, {"face": scaling}, window
    )


BATCHES = [np.array([7, 0, 0]), np.array([4]), np.array([1, 6, 5, 2]), np.array([3])]


@pytest.mark.parametrize("window", [0, 45, 10**6])
def test_batches_hold_their_rows_for_every_window(store: EmbeddingStore, values: np.ndarray, window: int) -> None:
    found = list(part(store, window).batches(BATCHES))
    for batch, one in zip(BATCHES, found, strict=True):
        raw = values[ROWS[batch]].astype(np.float32)
        gone = np.isnan(raw[:, 0])
        np.testing.assert_array_equal(one.views["face"], np.where(gone[:, None], 0, (raw - 2) / 4))
        np.testing.assert_array_equal(one.present["face"], ~gone)
        assert one.views["face"].dtype == np.float32
    assert not found[1].present["face"].any()


@pytest.mark.parametrize(
    ("window", "reads"),
    [(0, [3, 1, 4, 1]), (4 * 5 * 2, [4, 4, 1]), (10**6, [9])],  # bytes: of 4 frames, for one
)
def test_as_many_batches_are_read_together_as_fit_into_the_window(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch, window: int, reads: list[int]
) -> None:
    read: list[int] = []
    reading = EmbeddingStore.read_into
    monkeypatch.setattr(
        EmbeddingStore,
        "read_into",
        lambda self, out, key, rows: read.append(len(rows)) or reading(self, out, key, rows),
    )
    assert len(list(part(store, window).batches(BATCHES))) == 4
    assert read == reads


def test_no_batches_give_none(store: EmbeddingStore) -> None:
    assert list(part(store, 100).batches([])) == []


def test_frames_are_taken_in_the_given_order(store: EmbeddingStore, values: np.ndarray) -> None:
    stream = part(store, 100)
    taken = stream.take(np.array([5, 0]))
    np.testing.assert_array_equal(taken.views["face"], (values[[30, 3]].astype(np.float32) - 2) / 4)
    assert stream.shapes == {"face": (8, 5)}
    assert stream.seen.tolist() == (ROWS != 9).tolist()
