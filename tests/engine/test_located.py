"""A batch of frames with their boxes, and the views that are cut from it."""

from __future__ import annotations

import numpy as np
import pytest
from toy_components import Blobs, Halves, toy_house  # noqa: F401

from fusionkit.config.views import FACE, View, cut
from fusionkit.engine.embed import BATCH, locate, read_batches
from fusionkit.engine.source import open_source
from fusionkit.registry.spec import Spec


@pytest.mark.usefixtures("toy_house")
def test_batches_hold_all_rows_in_their_order() -> None:
    source, rows = open_source(Spec("toy-blobs"), None), np.arange(100, 250)
    batches = list(read_batches(source, rows))
    assert [start for start, _ in batches] == [0, BATCH, 2 * BATCH]
    read = [image for _, images in batches for image in images]
    for image, reference in zip(read, Blobs().read(rows), strict=True):
        assert np.array_equal(image, reference) if reference is not None else image is None


def test_views_are_at_the_positions_of_their_frames() -> None:
    images = Blobs().read(np.arange(30))
    batch = locate(Halves(), images)
    assert sorted(set(range(30)) - set(batch.positions)) == [5, 16, 27]  # these have no image
    views = batch.views(View.parse("bottom"))
    assert list(views) == batch.positions
    extractor = Halves()
    for position, view in views.items():
        boxes = dict(zip(extractor.regions, extractor([images[position]]).boxes[0], strict=True))
        reference = cut(images[position], boxes, View.parse("bottom"))
        assert np.array_equal(view, reference) if reference is not None else view is None
    assert any(view is None for view in views.values())


def test_without_an_extractor_there_are_faces_only() -> None:
    images = Blobs().read(np.arange(8))
    views = locate(None, images).views(FACE)
    assert all(views[position] is images[position] for position in views)
    assert locate(Halves(), [None, None]).views(FACE) == {}
