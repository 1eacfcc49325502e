"""Embedding of frames in memory: batches of any size, and region boxes."""

from __future__ import annotations

import numpy as np
import pytest
from toy_components import Blobs, Halves, toy_house  # noqa: F401

from fusionkit.config.views import View
from fusionkit.engine.embed import Embedding, FrameEmbedder
from fusionkit.registry.spec import Spec

pytestmark = pytest.mark.usefixtures("toy_house")


def wanted(*views: str) -> list[Embedding]:
    return [Embedding(view, Spec("toy-halves"), View.parse(view), Spec("toy-colours")) for view in views]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_size_of_batches_changes_nothing(size: int) -> None:
    frames = Blobs().images(np.arange(16))
    expected = FrameEmbedder(wanted("face", "bottom"), "cpu")(frames).values
    embedder = FrameEmbedder(wanted("face", "bottom"), "cpu", size)
    for _ in range(2):
        found = embedder(frames).values
        assert found.keys() == expected.keys()
        for key, values in found.items():
            np.testing.assert_array_equal(values, expected[key])
    assert np.isnan(expected["face"]).all(1).sum() == 1
    assert embedder.embedding_seconds > 0


def test_boxes_are_those_of_the_extractor() -> None:
    frames = Blobs().images(np.arange(16))
    embedder = FrameEmbedder(wanted("bottom", "face"), "cpu", 5)
    assert embedder.regions == ("bottom",)
    boxes = embedder(frames).boxes
    extractor = Halves()
    for frame, found in zip(frames, boxes, strict=True):
        if frame is None:
            assert found is None
            continue
        assert found is not None
        np.testing.assert_array_equal(found["bottom"], extractor([frame]).boxes[0, extractor.regions.index("bottom")])


def test_without_cut_views_nothing_is_located() -> None:
    embedder = FrameEmbedder(wanted("face"), "cpu")
    assert embedder.regions == ()
    assert embedder(Blobs().images(np.arange(2))).boxes == [{}, {}]
    assert Halves.calls == []
