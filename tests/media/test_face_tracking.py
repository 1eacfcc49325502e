"""Faces handed on are those that ``align`` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_faces import Dots, frame_of, moved, place
from toy_videos import write_video

from fusionkit.contracts.extractor import TEMPLATE
from fusionkit.contracts.image_file import load_image
from fusionkit.errors import ConfigError
from fusionkit.media.align import AlignSettings, align
from fusionkit.media.clock import Clock
from fusionkit.media.face_tracking import DetectionOptions, FaceTracker, face_finder
from fusionkit.media.inputs import find_inputs
from fusionkit.media.video import Video
from fusionkit.registry.spec import Spec

PLACES = [(place(80 + n, 120, 0.8, 3 * n), place(240, 110, 0.7, -n)) for n in range(6)]


@pytest.mark.parametrize("side", [112, 64])
def test_crops_and_tracks_are_those_of_align(tmp_path: Path, side: int) -> None:
    video = write_video(tmp_path / "v.mkv", (frame_of(*faces) for faces in PLACES), codec="ffv1")
    (outcome,) = align(find_inputs([video])[0], Dots(), AlignSettings({}, side=side), tmp_path / "out")
    assert outcome.faults == []
    watch = FaceTracker(DetectionOptions(Dots(), side=side), Clock(), moving=True)
    seen = [(frame.number, sighting) for frame in Video(video).frames() for sighting in watch(frame)]
    endings = watch.endings()
    assert len(seen) == 12
    for number, sighting in seen:
        path = tmp_path / f"out/cropped_aligned/v{endings[sighting.track]}/{number:05d}.jpg"
        np.testing.assert_array_equal(sighting.crop, load_image(path))
        points = (TEMPLATE + 0.5) * side / 112 - 0.5
        expected = moved(TEMPLATE, PLACES[number - 1][endings[sighting.track] == "_right"])
        np.testing.assert_allclose(moved(points, sighting.to_frame), expected, atol=0.5)


def test_one_of_several_is_chosen(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mkv", (frame_of(*faces) for faces in PLACES), codec="ffv1")
    watch = FaceTracker(DetectionOptions(Dots(), "right"), Clock(), moving=True)
    boxes = [sighting.box for frame in Video(video).frames() for sighting in watch(frame)]
    assert len(boxes) == 6
    assert all(box[0] > 160 for box in boxes)
    assert watch.endings() == {0: ""}


def test_without_a_detector_the_frame_is_the_face(tmp_path: Path) -> None:
    (frame,) = Video(write_video(tmp_path / "v.mkv", [frame_of()], codec="ffv1")).frames()
    watch = FaceTracker(DetectionOptions(), Clock(), moving=True)
    (sighting,) = watch(frame)
    assert sighting.crop is frame.image
    assert (sighting.box.tolist(), sighting.to_frame.tolist()) == ([0, 0, 320, 240], np.eye(2, 3).tolist())
    assert watch.endings() == {0: ""}


def test_an_extractor_that_finds_no_faces_is_refused() -> None:
    with pytest.raises(ConfigError, match="extractor template says where regions are but finds no faces"):
        face_finder(Spec("template"))


def test_time_is_told_by_step() -> None:
    clock = Clock()
    with pytest.raises(KeyError), clock("cutting"):
        raise KeyError
    assert list(clock.each("decoding", [1, 2])) == [1, 2]
    clock.add("cutting", 5.0)
    assert set(clock.seconds) == {"cutting", "decoding"}
    assert 5 < clock.seconds["cutting"] < 6
