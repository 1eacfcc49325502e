"""The bins of a timeline, against plain loops."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from fusionkit.media.inputs import MediaInput
from fusionkit.media.video import MediaFrame
from fusionkit.predict.video.result import ClipPredictions, VideoResult
from fusionkit.predict.video.timeline import binned, label_shares, write_timeline


def clip_of(count: int, times: list[float] | None = None) -> tuple[ClipPredictions, VideoResult]:
    rng = np.random.default_rng(0)
    result = VideoResult(MediaInput(Path("v.mp4"), "v.mp4", "v$1", True), ())
    for number in range(1, count + 1):
        seconds = number / 25 if times is None else times[number - 1]
        result.add_frame(MediaFrame(number, seconds, np.zeros((2, 2, 3), np.uint8)))
    probs = rng.dirichlet(np.ones(3), count)
    return ClipPredictions("v$1", np.arange(count), np.arange(count), rng.random(count) < 0.8, probs), result


@pytest.mark.parametrize("count", [2, 7, 1200, 5003])
def test_bins_are_means_of_frames(count: int) -> None:
    clip, result = clip_of(count)
    edges, probs, seen, unit = binned(clip, result)
    assert unit == "seconds"
    assert len(edges) == len(probs) + 1 == len(seen) + 1 == min(count, 1200) + 1
    assert edges[-1] == pytest.approx((count + 1) / 25)
    starts = [round(edge * 25) - 1 for edge in edges[:-1]] + [count]
    for index, (start, stop) in enumerate(pairwise(starts)):
        np.testing.assert_allclose(probs[index], clip.probs[start:stop].mean(0))
        assert seen[index] == pytest.approx(clip.seen[start:stop].mean())


@pytest.mark.parametrize("times", [[np.nan] * 3, [0.0, 0.0, 0.1], [0.2, 0.1, 0.3]])
def test_the_unit_is_frames_where_times_do_not_rise(times: list[float]) -> None:
    edges, _, _, unit = binned(*clip_of(3, times))
    assert (unit, edges.tolist()) == ("frame", [1, 2, 3, 4])


def test_shares_are_of_frames_with_a_face() -> None:
    probs = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1.0]])
    clip = ClipPredictions("v", np.arange(4), np.arange(4), np.array([True, True, True, False]), probs)
    assert label_shares(clip, ("a", "b", "c")) == [("b", 2 / 3), ("a", 1 / 3)]


@pytest.mark.slow
def test_the_picture_is_written(tmp_path: Path) -> None:
    clip, result = clip_of(30)
    write_timeline(clip, result, ("glad", "sad$", "größer"), tmp_path / "below" / "v.png")
    picture = cv2.imread(str(tmp_path / "below/v.png"))
    assert picture is not None
    assert picture.shape[1] == 1100
