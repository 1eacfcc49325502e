"""Tracked faces equal the crops that ``align`` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_faces import Dots, frame_of, moved, place
from toy_videos import write_video

from fusionkit.contracts.extractor import TEMPLATE
from fusionkit.contracts.image_file import load_image
from fusionkit.media.align import align
from fusionkit.media.clock import Clock
from fusionkit.media.face_tracking import BoxTracker, DetectionOptions, FaceTracker
from fusionkit.media.inputs import find_inputs
from fusionkit.media.video import Video

PLACES = [(place(80 + n, 120, 0.8, 3 * n), place(240, 110, 0.7, -n)) for n in range(6)]


@pytest.mark.parametrize("side", [112, 64])
def test_crops_and_tracks_are_those_of_align(tmp_path: Path, side: int) -> None:
    video = write_video(tmp_path / "v.mkv", (frame_of(*faces) for faces in PLACES), codec="ffv1")
    options = DetectionOptions(Dots(), side=side)
    (outcome,) = align(find_inputs([video])[0], options, {}, tmp_path / "out")
    assert outcome.faults == []
    tracker = FaceTracker(options, Clock(), is_photo=False)
    found = [(frame.number, face) for frame in Video(video).frames() for face in tracker(frame)]
    suffixes = tracker.clip_suffixes()
    assert len(found) == 12
    for number, face in found:
        path = tmp_path / f"out/cropped_aligned/v{suffixes[face.track]}/{number:05d}.jpg"
        np.testing.assert_array_equal(face.crop, load_image(path))
        points = (TEMPLATE + 0.5) * side / 112 - 0.5
        expected = moved(TEMPLATE, PLACES[number - 1][suffixes[face.track] == "_right"])
        np.testing.assert_allclose(moved(points, face.to_frame), expected, atol=0.5)


@pytest.mark.parametrize("apart", [0, 90])
def test_people_who_pass_each_other_closely_may_be_swapped(apart: int) -> None:
    """Boxes of side 60 and distance d on one line overlap by (60 - d) / (60 + d), .3 or more where d is at most 32."""
    tracker = BoxTracker()
    for number in range(1, 22):
        left, right = 10 * number, 200 - 10 * number  # frame 9: 30 px from the last; frame 8: 50
        boxes = [np.array([x, y, x + 60, y + 60]) for x, y in ((left, 0), (right, apart))]
        tracker.follow(number, boxes[:1] if number == 10 else boxes)
    told = tracker.doubts({0: "v_left", 1: "v_right"})
    line = "faces of v_left and v_right overlap in frame 9; from there they may be swapped"
    assert told == ("" if apart else line)
    assert tracker.doubts({0: "v", 1: "v"}) == tracker.doubts({0: "v"}) == ""


def test_align_names_clips_that_may_be_swapped(tmp_path: Path) -> None:
    paths = [(place(70 + 12 * n, 100, 0.7), place(250 - 12 * n, 140, 0.7)) for n in range(16)]
    video = write_video(tmp_path / "v.mkv", (frame_of(*faces) for faces in paths), codec="ffv1")
    options = DetectionOptions(Dots(), rotate=0)
    (outcome,) = align(find_inputs([video])[0], options, {}, tmp_path / "out")
    tracker = FaceTracker(options, Clock(), is_photo=False)
    for frame in Video(video).frames():
        tracker(frame)
    assert outcome.faults == [f"{video}: {tracker.doubts('v')}"]
    assert "overlap in frame" in outcome.faults[0]


def test_one_of_several_is_chosen(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mkv", (frame_of(*faces) for faces in PLACES), codec="ffv1")
    tracker = FaceTracker(DetectionOptions(Dots(), "right"), Clock(), is_photo=False)
    boxes = [face.box for frame in Video(video).frames() for face in tracker(frame)]
    assert len(boxes) == 6
    assert all(box[0] > 160 for box in boxes)
    assert tracker.clip_suffixes() == {0: ""}


def test_without_a_detector_the_frame_is_the_face(tmp_path: Path) -> None:
    (frame,) = Video(write_video(tmp_path / "v.mkv", [frame_of()], codec="ffv1")).frames()
    tracker = FaceTracker(DetectionOptions(), Clock(), is_photo=False)
    (face,) = tracker(frame)
    assert face.crop is frame.image
    assert (face.box.tolist(), face.to_frame.tolist()) == ([0, 0, 320, 240], np.eye(2, 3).tolist())
    assert tracker.clip_suffixes() == {0: ""}


def test_the_clock_sums_seconds_by_step() -> None:
    clock = Clock()
    with pytest.raises(KeyError), clock("cutting"):
        raise KeyError
    assert list(clock.each("decoding", [1, 2])) == [1, 2]
    assert set(clock.seconds) == {"cutting", "decoding"}
    assert 0 < clock.seconds["cutting"] < 6
