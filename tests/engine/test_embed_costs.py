"""Seconds of embedding, by a clock that the components advance: each view's own, and its share of common work."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from toy_components import Blobs, Colours, Halves, registered, toy_house  # noqa: F401

from fusionkit.config.views import View
from fusionkit.contracts import FaceDataset, FrameTable, Located
from fusionkit.engine import embed as embed_module
from fusionkit.engine.embed import Embedding, embed, embedding_of
from fusionkit.engine.source import Source, open_source
from fusionkit.registry import DATASETS
from fusionkit.registry.spec import Spec
from fusionkit.storage import embeddings as store_module
from fusionkit.storage.embeddings import EmbeddingStore, shard_count

READ, LOCATE, SLOW, FAST = 100.0, 30.0, 7.0, 2.0  # s a batch
SHARD = 64  # one batch per shard, so its reading is waited for


class Clock:
    """A clock that advances only when :meth:`wait` is called."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(toy_house: None, monkeypatch: pytest.MonkeyPatch) -> Clock:  # noqa: F811
    clock = Clock()
    monkeypatch.setattr(embed_module, "perf_counter", clock)
    for module in (embed_module, store_module):
        monkeypatch.setattr(module, "SHARD", SHARD)
    read, locate, look = Blobs.read, Halves.locate, Colours.embed

    def slow_read(self: Blobs, rows: np.ndarray) -> list[np.ndarray | None]:
        clock.wait(READ)
        return read(self, rows)

    def slow_locate(self: Halves, frames: list[np.ndarray]) -> Located:
        clock.wait(LOCATE)
        return locate(self, frames)

    def slow_look(self: Colours, views: np.ndarray) -> np.ndarray:
        clock.wait(FAST if self.gain == 1.0 else SLOW)
        return look(self, views)

    monkeypatch.setattr(Blobs, "read", slow_read)
    monkeypatch.setattr(Halves, "locate", slow_locate)
    monkeypatch.setattr(Colours, "embed", slow_look)
    return clock


@pytest.fixture
def source(toy_house: None) -> Source:  # noqa: F811
    return open_source(Spec.parse("toy-blobs:clips=20"), None)


def wanted(source: Source, view: str, backbone: str = "toy-colours") -> Embedding:
    return embedding_of(source, Spec("toy-halves"), View.parse(view), Spec.parse(backbone), 0, "cpu")


def make(source: Source, store: EmbeddingStore, *items: Embedding) -> list[float | None]:
    embed(source, items, range(shard_count(len(source.table))), store, "cpu", lambda _: None)
    return [store.seconds(item.key) for item in items]


@pytest.mark.usefixtures("clock")
def test_views_share_reading_cut_views_share_locating_and_each_has_its_backbone(source: Source, tmp_path: Path) -> None:
    shards = len(source.table) / SHARD
    assert shards == 2.5
    face, top, bottom = make(
        source,
        EmbeddingStore(tmp_path),
        wanted(source, "face", "toy-colours:gain=2.0"),
        wanted(source, "top"),
        wanted(source, "bottom"),
    )
    assert face == pytest.approx(3 * (SLOW + READ / 3))
    assert top == bottom == pytest.approx(3 * (FAST + READ / 3 + LOCATE / 2))


def test_seconds_add_up_to_those_of_the_pass(clock: Clock, source: Source, tmp_path: Path) -> None:
    seconds = make(source, EmbeddingStore(tmp_path), *(wanted(source, view) for view in ("face", "top", "top+bottom")))
    assert sum(value for value in seconds if value) == pytest.approx(clock.now)


@pytest.mark.usefixtures("clock")
def test_the_face_alone_pays_for_no_extractor(source: Source, tmp_path: Path) -> None:
    assert make(source, EmbeddingStore(tmp_path), wanted(source, "face")) == [pytest.approx(3 * (FAST + READ))]


@pytest.mark.usefixtures("clock")
def test_stored_shards_keep_their_seconds_and_a_recomputed_one_has_new_ones(source: Source, tmp_path: Path) -> None:
    store, face, top = EmbeddingStore(tmp_path), wanted(source, "face"), wanted(source, "top")
    make(source, store, face, top)
    shared = 3 * (FAST + READ / 2)
    assert make(source, store, face) == [pytest.approx(shared)]
    (tmp_path / "embeddings" / face.key / "00001" / "values.npy").unlink()
    assert make(source, store, face, top) == [
        pytest.approx(shared + READ / 2),  # the second shard was read for the face alone this time
        pytest.approx(shared + 3 * LOCATE),
    ]


def test_ready_embeddings_cost_their_reading(clock: Clock, tmp_path: Path) -> None:
    class Ready(FaceDataset):
        classes = ("a", "b")
        views = ("face",)

        @property
        def frames(self) -> FrameTable:
            return FrameTable.of([f"{n:03d}" for n in range(100)], [0] * 100, [0, 1] * 50)

        def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
            clock.wait(READ)
            return np.ones((len(rows), 2), np.float32)

    with registered(DATASETS, "toy-costly", Ready):
        source = open_source(Spec("toy-costly"), None)
        assert make(source, EmbeddingStore(tmp_path), wanted(source, "face")) == [pytest.approx(2 * READ)]


def test_seconds_are_unknown_unless_every_shard_has_them(tmp_path: Path) -> None:
    store, values = EmbeddingStore(tmp_path), np.zeros((2, 3), np.float16)
    assert store.seconds("k") is None
    store.write("k", 0, values, (), seconds=1.5)
    store.write("k", 1, values, (), seconds=2.0)
    assert store.seconds("k") == 3.5
    store.write("k", 1, values, ())
    assert store.seconds("k") is None


@pytest.mark.usefixtures("toy_house")
def test_without_the_toy_clock_real_seconds_are_measured(tmp_path: Path) -> None:
    source = open_source(Spec("toy-blobs"), None)
    began = perf_counter()
    (seconds,) = make(source, EmbeddingStore(tmp_path), wanted(source, "top"))
    assert seconds is not None
    assert 0 < seconds < perf_counter() - began
