"""Means of frames and views, against NumPy's."""

import numpy as np

from fusionkit.config.views import View, cut, parse_region_set
from fusionkit.data.contact_sheet import MeanViews
from fusionkit_faces.template import Template


def test_means_are_those_of_all_frames_in_any_batches():
    frames = list(np.random.default_rng(0).integers(0, 256, (7, 40, 30, 3)).astype(np.uint8))
    views = parse_region_set("eye,eye+mouth")
    mean = MeanViews(Template(), views)
    for part in (frames[:3], [], frames[3:]):
        mean.add(part)
    assert mean.count == 7
    np.testing.assert_array_equal(mean.mean(), np.rint(np.mean(frames, axis=0)))
    for view in views:
        boxes = dict(zip(Template().regions, Template()(frames[:1]).boxes[0], strict=True))
        cuts = [cut(frame, boxes, view) for frame in frames]
        np.testing.assert_array_equal(mean.mean(view), np.rint(np.mean(cuts, axis=0)))


def test_frames_of_other_sizes_are_resized_to_the_first():
    mean = MeanViews(Template(), ())
    mean.add([np.full((20, 10, 3), 100, np.uint8), np.full((60, 90, 3), 200, np.uint8)])
    np.testing.assert_array_equal(mean.mean(), np.full((20, 10, 3), 150))


def test_without_frames_there_is_no_mean():
    assert MeanViews(Template(), ()).mean() is None
    assert MeanViews(Template(), ()).mean(View.parse("eye")) is None
