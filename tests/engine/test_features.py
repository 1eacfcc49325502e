"""Features are standardised and imputed as fitted on the training frames alone, in memory and streamed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from fusionkit.engine.features import (
    FeaturesInMemory,
    FeaturesInStore,
    FoldFeatures,
    FoldRows,
    FrameFeatures,
    load_features,
)
from fusionkit.errors import CellError
from fusionkit.storage import embeddings
from fusionkit.storage.embeddings import EmbeddingStore, shard_count

RNG = np.random.default_rng(3)
ROWS = 60


def fold(train: list[int], dev: list[int], test: list[int]) -> FoldRows:
    return FoldRows(
        train=np.array(train),
        train_label=np.zeros(len(train), int),
        train_unit=np.array(["u"] * len(train)),
        dev=np.array(dev),
        dev_label=np.zeros(len(dev), int),
        test=np.array(test),
        clip=np.zeros(ROWS, int),
        number=np.arange(ROWS),
    )


FOLD = fold([*range(0, 60, 2)], [*range(1, 60, 4)], [*range(3, 60, 4)])


def stored(folder: Path, **views: np.ndarray) -> EmbeddingStore:
    store = EmbeddingStore(folder)
    for key, values in views.items():
        for index in range(shard_count(len(values))):
            store.write(key, index, values[index * embeddings.SHARD : (index + 1) * embeddings.SHARD], ())
    return store


HELD, STREAMED = 10**9, 0  # bytes of memory
either = pytest.mark.parametrize("memory", [HELD, STREAMED], ids=["held", "streamed"])


def loaded(
    store: EmbeddingStore, keys: dict[str, str], *, standardize: bool = True, memory: int = HELD
) -> FoldFeatures:
    return load_features(store, keys, FOLD, standardize=standardize, memory=memory)


def whole(part: FrameFeatures) -> FeaturesInMemory:
    return part.take(np.arange(len(part.seen)))


def sample(*shape: int) -> np.ndarray:
    values = RNG.normal(3, 2, size=(ROWS, *shape)) * np.linspace(0.1, 30, shape[-1])
    return values.astype(np.float16)


@either
def test_standardisation_equals_scikit_learns_on_the_training_rows(tmp_path: Path, memory: int) -> None:
    values = sample(5)
    features = loaded(stored(tmp_path, k=values), {"face": "k"}, memory=memory)
    scaler = StandardScaler().fit(values[FOLD.train].astype(np.float64))
    for part, rows in (("train", FOLD.train), ("dev", FOLD.dev), ("test", FOLD.test)):
        np.testing.assert_allclose(
            whole(getattr(features, part)).views["face"], scaler.transform(values[rows].astype(np.float64)), atol=1e-5
        )
    np.testing.assert_allclose(features.mean["face"], scaler.mean_, rtol=1e-6)
    np.testing.assert_allclose(features.scale["face"], scaler.scale_, rtol=1e-6)
    assert features.widths == {"face": 5}


@either
@pytest.mark.parametrize("standardize", [True, False])
def test_a_missing_view_holds_the_training_mean_of_the_frames_that_have_it(
    tmp_path: Path, memory: int, standardize: bool
) -> None:
    values = sample(4)
    gone = np.array([0, 2, 1, 3, 7])
    values[gone] = np.nan
    features = loaded(stored(tmp_path, k=values), {"face": "k"}, standardize=standardize, memory=memory)
    mean = np.nanmean(values[FOLD.train].astype(np.float64), 0)
    for part, rows in ((features.train, FOLD.train), (features.dev, FOLD.dev), (features.test, FOLD.test)):
        lost = np.isin(rows, gone)
        np.testing.assert_array_equal(part.present["face"], ~lost)
        expected = np.zeros(4) if standardize else mean
        found = whole(part)
        np.testing.assert_array_equal(found.present["face"], ~lost)
        np.testing.assert_allclose(found.views["face"][lost], np.tile(expected, (lost.sum(), 1)), atol=1e-5)
        assert np.isfinite(found.views["face"]).all()


@either
def test_dev_and_test_do_not_change_the_scaling(tmp_path: Path, memory: int) -> None:
    values = sample(3)
    other = values.copy()
    other[np.r_[FOLD.dev, FOLD.test]] *= 7
    first = loaded(stored(tmp_path / "a", k=values), {"face": "k"}, memory=memory)
    second = loaded(stored(tmp_path / "b", k=other), {"face": "k"}, memory=memory)
    np.testing.assert_array_equal(first.mean["face"], second.mean["face"])
    np.testing.assert_array_equal(first.scale["face"], second.scale["face"])
    np.testing.assert_array_equal(whole(first.train).views["face"], whole(second.train).views["face"])


@either
def test_without_standardising_values_are_unchanged(tmp_path: Path, memory: int) -> None:
    values = sample(3)
    features = loaded(stored(tmp_path, k=values), {"face": "k"}, standardize=False, memory=memory)
    np.testing.assert_array_equal(whole(features.test).views["face"], values[FOLD.test].astype(np.float32))
    # The mean stays known, since a missing view holds it.
    np.testing.assert_allclose(features.mean["face"], values[FOLD.train].mean(0), rtol=1e-3)
    np.testing.assert_array_equal(features.scale["face"], np.ones(3))


@either
def test_a_constant_feature_becomes_zero_and_nothing_explodes(tmp_path: Path, memory: int) -> None:
    values = sample(3)
    values[:, 1] = 0.1
    values[:, 2] = 0.0
    features = loaded(stored(tmp_path, k=values), {"face": "k"}, memory=memory)
    np.testing.assert_allclose(whole(features.test).views["face"][:, 1:], 0, atol=1e-6)
    np.testing.assert_array_equal(features.scale["face"][1:], [1, 1])


@either
def test_tokens_share_mean_and_scale_over_their_positions(tmp_path: Path, memory: int) -> None:
    values = sample(2, 3)
    values[4] = np.nan
    features = loaded(stored(tmp_path, k=values), {"face": "k"}, memory=memory)
    flat = values[FOLD.train].astype(np.float64).reshape(-1, 3)
    scaler = StandardScaler().fit(flat[~np.isnan(flat[:, 0])])
    found = whole(features.dev).views["face"]
    reference = scaler.transform(values[FOLD.dev].astype(np.float64).reshape(-1, 3)).reshape(-1, 2, 3)
    np.testing.assert_allclose(found, reference, atol=1e-5)
    np.testing.assert_allclose(whole(features.train).views["face"][2], 0, atol=1e-6)


@either
def test_a_view_that_no_training_frame_has_is_an_error_that_names_it(tmp_path: Path, memory: int) -> None:
    values = sample(3)
    values[FOLD.train] = np.nan
    with pytest.raises(CellError, match="view 'nose' is missing in every training frame"):
        loaded(stored(tmp_path, k=values), {"nose": "k"}, memory=memory)


@either
def test_views_keep_their_order_and_each_has_its_own_width(tmp_path: Path, memory: int) -> None:
    store = stored(tmp_path, a=sample(3), b=sample(5))
    features = loaded(store, {"nose": "b", "eye": "a"}, memory=memory)
    assert list(features.widths.items()) == [("nose", 5), ("eye", 3)]


@either
def test_the_bytes_of_a_shard_are_checked_once(tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "SHARD", 16)
    store = stored(tmp_path, k=sample(3))
    looked: list[str] = []
    checking = embeddings.check_artifact
    monkeypatch.setattr(embeddings, "check_artifact", lambda folder: looked.append(folder.name) or checking(folder))
    features = loaded(store, {"face": "k"}, standardize=False, memory=memory)
    np.testing.assert_array_equal(whole(features.dev).views["face"], store.read("k", FOLD.dev))
    assert sorted(looked) == ["00000", "00001", "00002", "00003"]


def test_more_than_the_limit_is_streamed(tmp_path: Path) -> None:
    store = stored(tmp_path, a=sample(3), b=sample(2, 5))
    needed = ROWS * (3 + 2 * 5) * 4
    assert isinstance(loaded(store, {"face": "a", "eye": "b"}, memory=needed).dev, FeaturesInMemory)
    features = loaded(store, {"face": "a", "eye": "b"}, memory=needed - 1)
    assert isinstance(features.dev, FeaturesInStore)
    assert (features.size, features.limit) == (needed, needed - 1)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_features_in_memory_and_streamed_are_the_same_bits(tmp_path: Path, standardize: bool, dtype: type) -> None:
    a, b = sample(7).astype(dtype), sample(2, 3).astype(dtype)
    a[::7], b[::5] = np.nan, np.nan
    store = stored(tmp_path, a=a, b=b)
    held, streamed = (
        loaded(store, {"face": "a", "eye": "b"}, standardize=standardize, memory=memory) for memory in (HELD, STREAMED)
    )
    for name in ("face", "eye"):
        np.testing.assert_array_equal(held.mean[name], streamed.mean[name])
        np.testing.assert_array_equal(held.scale[name], streamed.scale[name])
    for one, other in ((held.train, streamed.train), (held.dev, streamed.dev), (held.test, streamed.test)):
        assert one.shapes == other.shapes
        np.testing.assert_array_equal(one.seen, other.seen)
        np.testing.assert_array_equal(one.complete, other.complete)
        for name in ("face", "eye"):
            np.testing.assert_array_equal(whole(one).views[name], whole(other).views[name])


@settings(max_examples=examples(40))
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_seen_means_any_view_and_complete_means_all(flags: list[tuple[bool, bool]]) -> None:
    a, b = (np.array(column) for column in zip(*flags, strict=True))
    part = FeaturesInMemory({"a": np.arange(len(a)), "b": np.arange(len(b))}, {"a": a, "b": b})
    assert part.seen.tolist() == [x or y for x, y in flags]
    assert part.complete.tolist() == [x and y for x, y in flags]
    kept = part.take(np.flatnonzero(part.seen))
    assert kept.seen.all()
    assert kept.views["b"].tolist() == [i for i, (x, y) in enumerate(flags) if x or y]


@either
def test_a_map_is_scaled_like_tokens_in_blocks_of_any_size(
    tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = sample(2, 3)
    store = stored(tmp_path, tokens=values, map=values.reshape(len(values), 2, 1, -1))
    expected = loaded(store, {"face": "tokens"}, memory=memory)
    monkeypatch.setattr("fusionkit.engine.features._BLOCK_VALUES", 7)
    found = loaded(store, {"face": "map"}, memory=memory)
    np.testing.assert_array_equal(found.mean["face"], expected.mean["face"])
    flat = whole(found.dev).views["face"].reshape(len(FOLD.dev), 2, -1)
    np.testing.assert_array_equal(flat, whole(expected.dev).views["face"])
