"""Perturbed features against plain loops over frames, in memory and streamed alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusionkit.engine.features import FeaturesInMemory, FeaturesInStore, Scaling
from fusionkit.engine.perturb import Blank, Missing, PerturbedFeatures, Shuffled, ViewChange
from fusionkit.storage.embeddings import EmbeddingStore

N = 50
SHAPES = {"face": (4,), "eye": (3, 2)}  # the second has three tokens of width 2
ROWS = np.array([7, 3, 3, 49, 0, 21])
RNG = np.random.default_rng(0)
RAW = {name: RNG.normal(2, 3, (N, *shape)).astype(np.float16) for name, shape in SHAPES.items()}
RAW["eye"][::6] = np.nan
RAW["face"][3] = np.nan
SOURCE = RNG.permutation(N)
LOST = RNG.random(N) < 0.5


def scaling(standardize: bool) -> dict[str, Scaling]:
    found = {}
    for name, values in RAW.items():
        width = values.shape[-1]
        scale = np.full(width, 2, np.float32) if standardize else np.ones(width, np.float32)
        found[name] = Scaling(np.arange(1, width + 1, dtype=np.float32), scale, standardize)
    return found


@pytest.fixture(params=["held", "streamed"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def features_of(form: str, folder: Path, scales: dict[str, Scaling]) -> FeaturesInMemory | FeaturesInStore:
    store = EmbeddingStore(folder)
    for name, values in RAW.items():
        store.write(name, 0, values, [])
    present = {name: ~np.isnan(values.reshape(N, -1)[:, 0]) for name, values in RAW.items()}
    formats = {name: store.frame_format(name, 0) for name in RAW}
    streamed = FeaturesInStore(present, store, {name: name for name in RAW}, formats, np.arange(N), scales, 2**10)
    return streamed if form == "streamed" else streamed.take(np.arange(N))


def scaled(view: str, frame: int, scales: dict[str, Scaling]) -> np.ndarray:
    """Return one frame's view, as a head gets it."""
    item = scales[view]
    values = RAW[view][frame].astype(np.float32)
    if np.isnan(values).any():
        values = np.broadcast_to(item.mean, values.shape)
    return (values - item.mean) / item.scale if item.standardize else values


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("view", SHAPES)
@pytest.mark.parametrize("change", [Shuffled(SOURCE), Blank(), Missing(LOST)])
def test_every_frame_is_what_a_plain_loop_makes_of_it(
    tmp_path: Path, form: str, view: str, change: ViewChange, standardize: bool
) -> None:
    scales = scaling(standardize)
    features = PerturbedFeatures.of(features_of(form, tmp_path, scales), {view: change}, scales)
    found = features.take(ROWS)
    other = next(name for name in SHAPES if name != view)
    mean = np.zeros_like(scales[view].mean) if standardize else scales[view].mean
    for position, frame in enumerate(ROWS.tolist()):
        there = not np.isnan(RAW[view][frame]).any()
        if isinstance(change, Shuffled):
            expected = scaled(view, SOURCE[frame], scales)
        elif isinstance(change, Blank) or LOST[frame]:
            expected = np.broadcast_to(mean, SHAPES[view])
        else:
            expected = scaled(view, frame, scales)
        np.testing.assert_array_equal(found.views[view][position], expected)
        np.testing.assert_array_equal(found.views[other][position], scaled(other, frame, scales))
        kept = there and not (isinstance(change, Missing) and LOST[frame])
        assert found.present[view][position] == kept == features.present[view][frame]
        assert found.present[other][position] == (not np.isnan(RAW[other][frame]).any())
    assert features.shapes == {name: (N, *shape) for name, shape in SHAPES.items()}
    assert all(value.ctypes.data % 64 == 0 for value in found.views.values())


def test_batches_are_the_same_frames(tmp_path: Path, form: str) -> None:
    scales = scaling(True)
    features = PerturbedFeatures.of(features_of(form, tmp_path, scales), {"eye": Shuffled(SOURCE)}, scales)
    whole = features.take(np.arange(N))
    pieces = list(features.batches([np.arange(20), np.arange(20, N)]))
    for name in SHAPES:
        np.testing.assert_array_equal(np.concatenate([piece.views[name] for piece in pieces]), whole.views[name])


def test_a_frame_that_lost_every_view_is_predicted_if_asked(tmp_path: Path, form: str) -> None:
    scales, everything = scaling(True), Missing(np.ones(N, bool))
    features = features_of(form, tmp_path, scales)
    neither = np.isnan(RAW["face"][:, 0]) & np.isnan(RAW["eye"][:, 0, 0])
    face_only = PerturbedFeatures.of(features, {"eye": everything}, scales)
    np.testing.assert_array_equal(face_only.seen, ~np.isnan(RAW["face"][:, 0]))
    nothing = PerturbedFeatures.of(features, {"eye": everything, "face": everything}, scales, predict_empty=True)
    np.testing.assert_array_equal(nothing.seen, ~neither)
    assert not any(flags.any() for flags in nothing.present.values())
