"""Embedding equals a plain loop over frames, computes each shard once, and reports errors with view and frame."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from toy_components import Blobs, Colours, Halves, registered, toy_house  # noqa: F401

from fusionkit.config.views import View
from fusionkit.contracts import FaceDataset, FrameTable
from fusionkit.contracts.backbone import TokenCount
from fusionkit.engine import embed as embed_module
from fusionkit.engine.embed import Embedding, ahead, embed, embedding_of, shared_backbone
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import CellError, DataError, PluginError
from fusionkit.registry import BACKBONES, DATASETS
from fusionkit.registry.spec import Spec
from fusionkit.storage import embeddings as store_module
from fusionkit.storage.embeddings import EmbeddingStore, shard_count

VIEWS = ("face", "bottom", "top+bottom", "drop:top", "keep:bottom")


@pytest.fixture(autouse=True)
def _small_shards(toy_house: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(embed_module, "SHARD", 128)
    monkeypatch.setattr(store_module, "SHARD", 128)


@pytest.fixture
def source() -> Source:
    return open_source(Spec("toy-blobs"), None)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path / "cache")


def wanted(source: Source, *views: str, backbone: str = "toy-colours", tokens: TokenCount = 0) -> list[Embedding]:
    extractor, spec = Spec("toy-halves"), Spec.parse(backbone)
    return [embedding_of(source, extractor, View.parse(view), spec, tokens, "cpu") for view in views]


def make(
    source: Source, items: list[Embedding], store: EmbeddingStore, advance: Callable[[int], None] = lambda _: None
) -> None:
    embed(source, items, range(shard_count(len(source.table))), store, "cpu", advance)


def by_hand(source: Source, view: str) -> np.ndarray:
    """Frame by frame, without any of the engine: crop, resize, mean of each quarter."""
    out = np.full((len(source.table), 12), np.nan, np.float32)
    for row in range(len(source.table)):
        image = source.dataset.read(np.array([source.rows[row]]))[0]
        if image is None:
            continue
        half = image.shape[0] // 2
        lost = (image[0, 0] == 255).all()
        top, bottom = image[:half], image[half:]
        if lost and "bottom" in view:
            continue
        made = {
            "face": image,
            "bottom": bottom,
            "top+bottom": np.concatenate([top, bottom]),
            "drop:top": np.concatenate([top * 0, bottom]),
            "keep:bottom": np.concatenate([top * 0, bottom]),
        }[view]
        small = cv2.resize(made, (8, 8), interpolation=cv2.INTER_LINEAR)
        quarters = [small[y : y + 4, x : x + 4].reshape(-1, 3).mean(0) for y in (0, 4) for x in (0, 4)]
        out[row] = np.concatenate(quarters) / 255
    return out


@pytest.mark.parametrize("view", VIEWS)
def test_values_equal_a_loop_over_frames_and_missing_views_are_rows_of_nan(
    source: Source, store: EmbeddingStore, view: str
) -> None:
    items = wanted(source, view)
    make(source, items, store)
    found = store.read(items[0].key, np.arange(320))
    reference = by_hand(source, view)
    assert np.isnan(reference).any()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(reference))
    np.testing.assert_allclose(found, reference, atol=1e-3, rtol=0)  # float16


def test_padding_of_batches_changes_no_bit(tmp_path: Path) -> None:
    """The same frames among other frames and at other positions of their batch."""
    whole = open_source(Spec("toy-blobs"), None)
    part = Source(whole.spec, whole.dataset, whole.rows[7:50], whole.table.take(np.arange(7, 50)))
    one, two = EmbeddingStore(tmp_path / "one"), EmbeddingStore(tmp_path / "two")
    first, second = wanted(whole, "face"), wanted(part, "face")
    make(whole, first, one)
    make(part, second, two)
    np.testing.assert_array_equal(
        one.read(first[0].key, np.arange(7, 50)), two.read(second[0].key, np.arange(43)), strict=True
    )
    assert set(Colours.calls) == {64}


def test_a_frame_is_read_and_located_once_for_all_views(source: Source, store: EmbeddingStore) -> None:
    make(source, wanted(source, *VIEWS), store)
    assert set(Counter(Blobs.reads).values()) == {1}
    assert sum(Halves.calls) == sum(image is not None for image in source.images(np.arange(320)))


def test_the_whole_face_alone_needs_no_extractor(source: Source, store: EmbeddingStore) -> None:
    make(source, wanted(source, "face"), store)
    assert Halves.calls == []


def test_stored_shards_are_not_recomputed(source: Source, store: EmbeddingStore) -> None:
    make(source, wanted(source, "face", "bottom"), store)
    Blobs.reads.clear()
    Colours.calls.clear()
    make(source, wanted(source, "face", "bottom"), store)
    assert Blobs.reads == []
    assert Colours.calls == []


def test_one_more_view_costs_only_itself(source: Source, store: EmbeddingStore) -> None:
    make(source, wanted(source, "face"), store)
    Colours.calls.clear()
    make(source, wanted(source, "face", "top"), store)
    assert len(Colours.calls) == -(-320 // 64)


def test_only_damaged_or_missing_shards_are_recomputed_with_the_same_values(
    source: Source, store: EmbeddingStore, tmp_path: Path
) -> None:
    items = wanted(source, "face", "bottom")
    make(source, items, store)
    before = {item.key: store.read(item.key, np.arange(320)) for item in items}
    file = tmp_path / "cache" / "embeddings" / items[1].key / "00001" / "values.npy"
    file.write_bytes(file.read_bytes()[:-2] + b"zz")
    Blobs.reads.clear()
    make(source, items, store)
    assert sorted(Blobs.reads) == list(range(128, 256))
    for item in items:
        np.testing.assert_array_equal(store.read(item.key, np.arange(320)), before[item.key])


def test_only_the_requested_shards_are_computed(source: Source, store: EmbeddingStore) -> None:
    items = wanted(source, "face")
    embed(source, items, [1], store, "cpu", lambda _: None)
    assert store.missing(items[0].key, 320, verify=True) == [0, 2]
    assert sorted(Blobs.reads) == list(range(128, 256))


def test_one_task_checks_its_own_shards_only(
    source: Source, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    reading = store_module.read_meta
    monkeypatch.setattr(store_module, "read_meta", lambda folder: looked.append(folder) or reading(folder))
    embed(source, wanted(source, "face"), [1], store, "cpu", lambda _: None)
    assert [folder.name for folder in looked] == ["00001"]


def test_after_an_interruption_only_unfinished_shards_are_computed(
    source: Source, store: EmbeddingStore, tmp_path: Path
) -> None:
    items = wanted(source, "face", "bottom")
    done = 0

    def interrupt(count: int) -> None:
        nonlocal done
        done += count
        if done > 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(source, items, store, interrupt)
    assert store.missing(items[0].key, 320, verify=True) == [1, 2]
    Blobs.reads.clear()
    make(source, items, store)
    assert sorted(Blobs.reads) == list(range(128, 320))
    whole = EmbeddingStore(tmp_path / "other")
    make(source, items, whole)
    for item in items:
        np.testing.assert_array_equal(store.read(item.key, np.arange(320)), whole.read(item.key, np.arange(320)))


def test_progress_counts_every_frame_once(source: Source, store: EmbeddingStore) -> None:
    counts: list[int] = []
    make(source, wanted(source, "face", "bottom"), store, counts.append)
    make(source, wanted(source, "face", "bottom"), store, counts.append)
    assert sum(counts) == 2 * 320


def test_frames_without_an_image_are_named(source: Source, store: EmbeddingStore) -> None:
    items = wanted(source, "face")
    make(source, items, store)
    blank = [row for row, image in enumerate(source.images(np.arange(320))) if image is None]
    assert store.unreadable(items[0].key, 320) == [source.where(row) for row in blank]


def test_nan_from_a_backbone_names_backbone_view_and_frame(source: Source, store: EmbeddingStore) -> None:
    with pytest.raises(
        CellError, match=r"backbone toy-nan-colours gave values that are not finite for view 'top' of \d+ frame.*c0"
    ) as caught:
        make(source, wanted(source, "top", backbone="toy-nan-colours"), store)
    frames = source.images(np.arange(128))
    tops = [None if image is None else cv2.resize(image[: len(image) // 2], (8, 8)) for image in frames]
    bright = [row for row, top in enumerate(tops) if top is not None and top.mean() / 255 > 0.42]
    assert f"{len(bright)} frame(s)" in str(caught.value)
    assert source.where(bright[0]) in str(caught.value)


def test_values_beyond_float16_are_named_as_such(source: Source, store: EmbeddingStore) -> None:
    with pytest.raises(CellError, match=r"toy-colours:gain=1000000.0 gave values that are beyond float16.*'face'"):
        make(source, wanted(source, "face", backbone="toy-colours:gain=1e6"), store)


def test_a_backbone_that_raises_is_named_with_its_view(source: Source, store: EmbeddingStore) -> None:
    with pytest.raises(PluginError, match="backbone toy-furious failed on view 'face': RuntimeError: no weights today"):
        make(source, wanted(source, "face", backbone="toy-furious"), store)


class Widthless(Colours):
    """Forgets a row."""

    def embed(self, views: np.ndarray) -> np.ndarray:
        return super().embed(views)[1:]


def test_a_backbone_of_the_wrong_shape_is_named(source: Source, store: EmbeddingStore) -> None:
    with (
        registered(BACKBONES, "toy-widthless", Widthless),
        pytest.raises(PluginError, match=r"Widthless gave \(63, 12\); expected \(B, D\) with B=64, D=12"),
    ):
        make(source, wanted(source, "face", backbone="toy-widthless"), store)


class Patches(Colours):
    """Each quarter a token of its own."""

    @property
    def dim(self) -> int:
        return 3

    def tokens(self, views: np.ndarray) -> np.ndarray:
        return Colours.embed(self, views).reshape(len(views), 4, 3)


def test_tokens_are_stored_pooled_and_by_their_own_key(source: Source, store: EmbeddingStore) -> None:
    with registered(BACKBONES, "toy-patches", Patches):
        items = wanted(source, "face", backbone="toy-patches", tokens=2)
        make(source, items, store)
        found = store.read(items[0].key, np.arange(320))
        reference = by_hand(source, "face").reshape(320, 2, 2, 3).mean(2)
        np.testing.assert_allclose(found, reference, atol=1e-3)
        assert items[0].key != wanted(source, "face", backbone="toy-patches", tokens=4)[0].key


class Quarters(Patches):
    """Quarters in a grid."""

    token_grid = (2, 2)


def test_maps_are_stored_with_their_grid_and_by_their_own_key(source: Source, store: EmbeddingStore) -> None:
    with registered(BACKBONES, "toy-quarters", Quarters):
        items = wanted(source, "face", backbone="toy-quarters", tokens="map")
        make(source, items, store)
        found = store.read(items[0].key, np.arange(320))
        np.testing.assert_allclose(found, by_hand(source, "face").reshape(320, 2, 2, 3), atol=1e-3)
        assert items[0].width == 3
        assert items[0].key not in {wanted(source, "face", backbone="toy-quarters", tokens=k)[0].key for k in (0, 4)}


class Ready(FaceDataset):
    """Brings its own embeddings."""

    poison: float = float("nan")

    def __init__(self, bad: bool = False) -> None:
        self.bad = bad

    @property
    def classes(self) -> tuple[str, ...]:
        return ("a", "b")

    @property
    def frames(self) -> FrameTable:
        return FrameTable.of([f"{n:03d}" for n in range(200)], [0] * 200, [0, 1] * 100)

    @property
    def views(self) -> tuple[str, ...]:
        return ("face", "voice")

    def embeddings(self, view: str, rows: np.ndarray) -> np.ndarray:
        values = np.random.default_rng(len(view)).normal(size=(200, 5)).astype(np.float32) * 1e6
        values[17] = np.nan
        if self.bad:
            values[150, 3] = self.poison
        return values[rows]


def test_ready_embeddings_are_stored_unchanged_without_a_backbone(store: EmbeddingStore) -> None:
    with registered(DATASETS, "toy-ready", Ready):
        source = open_source(Spec("toy-ready"), None)
        items = wanted(source, "voice")
        make(source, items, store)
        np.testing.assert_array_equal(
            store.read(items[0].key, np.arange(200)), Ready().embeddings("voice", np.arange(200))
        )
        assert Colours.calls == []
        assert str(items[0]) == "voice by the data set"


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_ready_embedding_that_is_not_finite_is_refused_by_name(store: EmbeddingStore, poison: float) -> None:
    with registered(DATASETS, "toy-ready", Ready), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ready, "poison", poison)
        source = open_source(Spec.parse("toy-ready:bad=true"), None)
        named = f"'voice' is not finite for 1 frame.*{re.escape(source.where(150))}"
        with pytest.raises(DataError, match=named):
            make(source, wanted(source, "voice"), store)


def test_what_decides_the_values_decides_the_key(source: Source) -> None:
    base = wanted(source, "bottom")[0].key
    extractor, view, backbone = Spec("toy-halves"), View.parse("bottom"), Spec("toy-colours")
    others = {
        "view": wanted(source, "top")[0].key,
        "option": wanted(source, "bottom", backbone="toy-colours:gain=2.0")[0].key,
        "tokens": wanted(source, "bottom", tokens=2)[0].key,
        "device": embedding_of(source, extractor, view, backbone, 0, "cuda:0").key,
        "data": wanted(open_source(Spec.parse("toy-blobs:seed=1"), None), "bottom")[0].key,
        "limit": wanted(open_source(Spec("toy-blobs"), 40), "bottom")[0].key,
    }
    assert len({base, *others.values()}) == 1 + len(others)
    assert wanted(source, "bottom", backbone="toy-colours:gain=1.0")[0].key == base  # a default is the same choice
    second_gpu = embedding_of(source, extractor, view, backbone, 0, "cuda:1").key
    assert second_gpu == others["device"]


def test_the_face_does_not_depend_on_the_extractor(source: Source) -> None:
    class Others(Halves):
        revision = 2

    from fusionkit.registry import EXTRACTORS

    with registered(EXTRACTORS, "toy-others", Others):
        for view, same in (("face", True), ("bottom", False)):
            one, two = (
                embedding_of(source, Spec(name), View.parse(view), Spec("toy-colours"), 0, "cpu").key
                for name in ("toy-halves", "toy-others")
            )
            assert (one == two) == same


def test_a_class_that_was_replaced_in_this_process_is_built_again(source: Source, store: EmbeddingStore) -> None:
    """In a notebook a cell is edited and run again: the embedding must come from the new class."""

    class First(Colours):
        revision = 1

    class Second(Colours):
        revision = 2

        def embed(self, views: np.ndarray) -> np.ndarray:
            return 2 * super().embed(views)

    found: list[np.ndarray] = []
    for cls in (First, Second):
        with registered(BACKBONES, "toy-edited", cls):
            items = wanted(source, "face", backbone="toy-edited")
            make(source, items, store)
            found.append(store.read(items[0].key, np.arange(4)))
    np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-3)


def test_weights_that_changed_on_disk_are_read_again(source: Source, store: EmbeddingStore, tmp_path: Path) -> None:
    class Weighted(Colours):
        files = ("gain_file",)

        def __init__(self, gain_file: str) -> None:
            super().__init__(float(Path(gain_file).read_text(encoding="utf-8")))

    found: list[Any] = []
    with registered(BACKBONES, "toy-weighted", Weighted):
        for gain in ("1.0", "3.00"):
            (tmp_path / "gain").write_text(gain, encoding="utf-8")
            items = wanted(source, "face", backbone=f"toy-weighted:gain_file={tmp_path / 'gain'}")
            make(source, items, store)
            found.append(store.read(items[0].key, np.arange(4)))
    np.testing.assert_allclose(found[1], 3 * found[0], rtol=1e-3)


def test_the_cost_of_a_backbone_is_its_own() -> None:
    assert shared_backbone(Spec("toy-colours")).cost() == (7, 0.25)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_a_batch_that_exceeds_memory_is_halved_until_it_fits(
    source: Source, store: EmbeddingStore, error: Exception
) -> None:
    sizes: list[int] = []

    class Hungry(Colours):
        def embed(self, views: np.ndarray) -> np.ndarray:
            sizes.append(len(views))
            if len(views) > 16:
                raise error
            return super().embed(views)

    name = f"toy-{type(error).__name__.lower()}"
    with registered(BACKBONES, name, Hungry):
        items = wanted(source, "face", backbone=name)
        make(source, items, store)
    assert sizes[:3] == [64, 32, 16]
    np.testing.assert_array_equal(
        store.read(items[0].key, np.arange(len(source.table))), by_hand(source, "face").astype(np.float16)
    )


class Deferred(Colours):
    """Computes when its values are awaited, as a GPU may; records launches and awaits."""

    events: ClassVar[list[str]] = []
    limit: ClassVar[int] = 10**6

    def launch(self, views: np.ndarray, *, tokens: bool) -> Callable[[], np.ndarray]:
        number = sum(event.startswith("launch") for event in self.events)
        self.events.append(f"launch {number} of {len(views)}")

        def wait() -> np.ndarray:
            self.events.append(f"await {number}")
            if len(views) > self.limit:
                raise MemoryError
            return self.embed(views)

        return wait


@pytest.fixture
def _one_shard(_small_shards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_module, "SHARD", 320)
    monkeypatch.setattr(store_module, "SHARD", 320)


@pytest.fixture
def deferred(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Deferred]]:
    monkeypatch.setattr(Deferred, "events", [])
    with registered(BACKBONES, "toy-deferred", Deferred):
        yield Deferred


@pytest.mark.usefixtures("_one_shard")
def test_a_batch_is_launched_before_the_one_before_it_is_awaited_and_keeps_its_pixels(
    source: Source, store: EmbeddingStore, deferred: type[Deferred]
) -> None:
    items = wanted(source, *VIEWS, backbone="toy-deferred")
    embed(source, items, [0], store, "cpu", lambda _: None)
    launched, awaited = (
        [int(event.split()[1]) for event in deferred.events if event.startswith(kind)] for kind in ("launch", "await")
    )
    count = len(VIEWS)
    order = [number for batch in range(5) for number in range(batch * count, (batch + 1) * count)]
    assert launched == awaited == order
    # All views of batch 1 are launched before any of batch 0 is awaited, and so on.
    assert [event.split()[0] for event in deferred.events] == ["launch"] * count + (
        ["launch"] * count + ["await"] * count
    ) * 4 + ["await"] * count
    for item, view in zip(items, VIEWS, strict=True):
        np.testing.assert_array_equal(store.read(item.key, np.arange(320)), by_hand(source, view).astype(np.float16))


def test_a_batch_that_exceeds_memory_when_it_is_awaited_is_launched_in_halves(
    source: Source, store: EmbeddingStore, deferred: type[Deferred], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferred, "limit", 32)
    items = wanted(source, "face", backbone="toy-deferred")
    make(source, items, store)
    assert [event.split()[-1] for event in deferred.events if event.startswith("launch")][:4] == [
        "64",
        "64",
        "32",
        "32",
    ]
    np.testing.assert_array_equal(store.read(items[0].key, np.arange(320)), by_hand(source, "face").astype(np.float16))


@pytest.mark.usefixtures("_one_shard")
def test_on_a_gpu_batches_are_larger(source: Source, store: EmbeddingStore) -> None:
    """The toy backbone computes on the CPU whatever the device."""
    extractor, backbone = Spec("toy-halves"), Spec("toy-colours")
    items = [embedding_of(source, extractor, View.parse(view), backbone, 0, "cuda") for view in VIEWS]
    embed(source, items, [0], store, "cuda", lambda _: None)
    assert set(Colours.calls) == {256}
    for item, view in zip(items, VIEWS, strict=True):
        np.testing.assert_array_equal(store.read(item.key, np.arange(320)), by_hand(source, view).astype(np.float16))


def test_items_are_made_one_ahead_and_their_error_is_raised_in_its_turn() -> None:
    made: list[int] = []

    def items() -> Generator[int]:
        try:
            for number in range(4):
                made.append(number)
                if number == 2:
                    raise ValueError("no second")
                yield number
        finally:
            made.append(-1)

    found: list[int] = []
    with pytest.raises(ValueError, match="no second"):
        found.extend(ahead(items()))
    assert (found, made) == ([0, 1], [0, 1, 2, -1])
    made.clear()
    with closing(ahead(items())) as first:
        assert next(first) == 0
    assert made == [0, 1, -1]
