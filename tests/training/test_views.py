from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from toy_components import Halves, toy_house

from fusionkit.config.views import View
from fusionkit.engine import embed as embed_stage
from fusionkit.engine.embed import FrameEmbedder, embedding_of
from fusionkit.engine.source import open_source
from fusionkit.registry.spec import Spec
from fusionkit.training.crop import RandomCrop
from fusionkit.training.views import ViewSample, ViewSamples, ViewTransform

__all__ = ["toy_house"]
ROWS = np.array([0, 3, 5, 9, 10, 12])  # 3 and 10 have no bottom, 5 no image


def samples(*views: str) -> ViewSamples:
    source = open_source(Spec.parse("toy-blobs:clips=4"), None)
    cuts = [View.parse(view) for view in views]
    return ViewSamples(source, ROWS, np.arange(6), Spec("toy-halves"), cuts, 2**20)


@pytest.mark.usefixtures("toy_house")
@pytest.mark.parametrize("view", ["face", "bottom", "bottom+top", "keep:top", "drop:bottom"])
def test_a_view_is_what_the_embed_stage_gives_its_backbone(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pixels after cutting and resizing, for every frame, against those that a backbone of the bench receives."""
    found = samples(view)
    seen: list[np.ndarray] = []

    class Watching:
        dim, input_size, interpolation, random_weights = 1, (8, 8), "linear", False

        def precision(self, device: str) -> str:
            return "float32"

        def feature_shape(self, tokens: int) -> tuple[int, ...]:
            return (1,)

        def prepare(self, device: str, precision: str) -> None:
            pass

        def __call__(self, views: np.ndarray, tokens: int) -> np.ndarray:
            seen.append(views.copy())
            return np.zeros((len(views), 1), np.float32)

        def launched(self, views: np.ndarray, tokens: int) -> Callable[[], np.ndarray]:
            return lambda: self(views, tokens)

    monkeypatch.setattr(embed_stage, "shared_backbone", lambda _: Watching())
    source = found.frames.images.source
    wanted = embedding_of(source, Spec("toy-halves"), View.parse(view), Spec("toy-colours"), 0, "cpu")
    FrameEmbedder([wanted], "cpu")(source.images(ROWS))
    transform = ViewTransform((8, 8), "linear", (0, 0, 0), RandomCrop(8))
    for index in range(len(ROWS)):
        sample = found.read(index)
        theirs = seen[0][index]
        if sample is None:
            assert not theirs.any()
        else:
            np.testing.assert_array_equal(transform.plain(sample)[0], theirs)
    assert sum(found.read(index) is None for index in range(len(ROWS))) == {"face": 1, "keep:top": 1}.get(view, 3)


@pytest.mark.usefixtures("toy_house")
def test_a_frame_with_one_of_two_views_is_kept_and_regions_are_located_once() -> None:
    found = samples("face", "bottom")
    both = [found.read(index) for index in range(6)]
    assert [sample and sample.complete for sample in both] == [True, False, None, True, False, True]
    assert [sample.label for sample in both if sample] == [0, 1, 3, 4, 5]
    assert both[1] is not None
    assert both[1].views[1] is None
    calls = len(Halves.calls)
    assert calls == 5
    assert [found.read(index) and True for index in range(6)].count(True) == 5
    assert len(Halves.calls) == calls
    assert "c000" in found.where(1)


def test_training_crops_every_view_for_itself_and_mirrors_all_or_none() -> None:
    ramp = np.zeros((16, 8, 3), np.uint8)
    ramp[..., 0] = np.arange(16)[:, None] * 10
    ramp[..., 1] = np.arange(8)[None] * 20
    sample = ViewSample((ramp, ramp), 2)
    transform = ViewTransform((8, 8), "nearest", (1, 2, 3), RandomCrop(8, (0.5, 0.9), flip=0.5))
    mirrored, boxes = set(), set()
    for seed in range(30):
        one, two, label = transform.drawn(sample, np.random.default_rng(seed))
        assert int(label) == 2
        assert one.shape == two.shape == (8, 8, 3)
        ways = [bool(view[0, -1, 1] < view[0, 0, 1]) for view in (one, two)]
        assert ways[0] == ways[1]
        mirrored.add(ways[0])
        boxes.add((tuple(one[:, 0, 0].tolist()), tuple(two[:, 0, 0].tolist())))
    assert mirrored == {True, False}
    assert any(one != two for one, two in boxes)


def test_a_crop_is_drawn_at_the_size_of_the_backbone() -> None:
    view = np.random.default_rng(0).integers(0, 255, (40, 20, 3), dtype=np.uint8)  # resized to 10 x 10: 4 and 2 to 1
    transform = ViewTransform((10, 10), "nearest", (0, 0, 0), RandomCrop(10, (0.3, 0.6), flip=0.0))
    rng = np.random.default_rng(3)
    top, left, height, width = transform.crop.box(10, 10, np.random.default_rng(3))
    part = view[4 * top : 4 * (top + height), 2 * left : 2 * (left + width)]
    rows, columns = ((np.arange(10) * side // 10) for side in part.shape[:2])
    found = transform.drawn(ViewSample((view,), 0), rng)[0]
    np.testing.assert_array_equal(found, part[rows][:, columns])


def test_without_cropping_and_mirroring_training_sees_what_the_bench_shows() -> None:
    view = np.random.default_rng(0).integers(0, 255, (13, 29, 3), dtype=np.uint8)
    transform = ViewTransform((12, 12), "cubic", (0, 0, 0), RandomCrop(12, (1.0, 1.0), ratio=(1, 1), flip=0.0))
    sample = ViewSample((view,), 0)
    drawn = transform.drawn(sample, np.random.default_rng(0))[0]
    np.testing.assert_array_equal(drawn, transform.plain(sample)[0])


def test_a_missing_view_is_an_image_of_the_mean_colour() -> None:
    transform = ViewTransform((4, 4), "linear", (10, 20, 30), RandomCrop(4))
    face = np.full((5, 5, 3), 77, np.uint8)
    for arrays in (
        transform.plain(ViewSample((face, None), 1)),
        transform.drawn(ViewSample((face, None), 1), np.random.default_rng(0))[:2],
    ):
        assert np.unique(arrays[0]).tolist() == [77]
        assert arrays[1].mean((0, 1)).tolist() == [10, 20, 30]
