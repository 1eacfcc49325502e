"""Boxes of a crop in the frame, and what is drawn of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from fusionkit.data.drawing import COLOURS
from fusionkit.media.inputs import MediaInput
from fusionkit.media.video import MediaFrame
from fusionkit.predict.video.drawing import FaceMark, FaceMarks, Overlay, corners, time_label
from fusionkit.predict.video.result import ClipPredictions, FaceRow, VideoResult


def test_an_upright_box_in_the_frame_itself_has_its_edges_for_corners() -> None:
    box = np.array([[10, 20, 6, 4, 0], [np.nan] * 5])
    assert corners(box, np.eye(2, 3)).tolist() == [[[7, 18], [13, 18], [13, 22], [7, 22]]]


def test_a_box_is_turned_clockwise_and_carried_with_the_crop() -> None:
    angle, scale, shift = 30.0, 2.0, np.array([50.0, 80.0])
    turn = np.radians(angle)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    found = corners(np.array([[10, 20, 6, 4, 40.0]]), np.column_stack([linear, shift]))[0]
    middle = linear @ (np.array([10, 20]) - 0.5) + shift + 0.5
    expected = cv2.boxPoints((tuple(middle), (12, 8), 70.0))
    for point in expected:
        assert np.abs(found - point).sum(1).min() < 1e-3


def drawn(mark: FaceMark, image: np.ndarray | None = None) -> np.ndarray:
    image = np.full((400, 300, 3), 128, np.uint8) if image is None else image
    return Overlay(("glad", "sad"), (image.shape[0], image.shape[1])).draw(image, [mark], "0:01.00")


def mark_of(probs: np.ndarray | None, *, seen: bool = True, box: np.ndarray | None = None) -> FaceMark:
    return FaceMark("left", 0, box, np.empty((0, 4, 2)), probs, seen)


def lit(picture: np.ndarray, colour: tuple[int, int, int], width: int) -> np.ndarray:
    """Pixels of a colour in the panel."""
    return (picture[:, width:] == colour).all(-1)


def test_the_frame_is_unchanged_and_bar_lengths_are_proportional_to_probabilities() -> None:
    picture = drawn(mark_of(np.array([0.75, 0.25])))
    assert (picture[:, :300] == 128).all()
    assert picture.shape[1] % 2 == 0
    chosen, other = lit(picture, COLOURS[3], 300), lit(picture, (92, 96, 104), 300)
    lengths = [int(each.sum(1).max()) for each in (chosen, other)]
    assert lengths[0] / lengths[1] == pytest.approx(3, abs=0.1)


def test_an_imputed_prediction_has_no_colour() -> None:
    picture = drawn(mark_of(np.array([0.75, 0.25]), seen=False))
    assert not lit(picture, COLOURS[3], 300).any()
    assert lit(picture, (92, 96, 104), 300).any()
    assert not lit(drawn(mark_of(None)), (92, 96, 104), 300).any()


def test_the_face_has_a_box_unless_it_is_the_whole_frame() -> None:
    small = drawn(mark_of(np.array([1.0, 0.0]), box=np.array([50, 100, 150, 220])))
    assert (small[100, 60:140] == COLOURS[3]).all(-1).mean() > 0.9
    assert (small[110:210, 60:140] == 128).all()
    assert (drawn(mark_of(np.array([1.0, 0.0]), box=np.array([0, 0, 300, 400])))[:, :300] == 128).all()


@pytest.mark.parametrize(
    ("size", "shown"), [((100, 80), (360, 288)), ((2160, 3840), (1080, 1920)), ((1, 1), (360, 360))]
)
def test_small_frames_are_enlarged_and_large_ones_reduced(size: tuple[int, int], shown: tuple[int, int]) -> None:
    picture = drawn(mark_of(np.array([1.0, 0.0])), np.full((*size, 3), 128, np.uint8))
    assert picture.shape[0] == shown[0]
    assert (picture[:, : shown[1]] == 128).all()
    assert not (picture[:, shown[1]] == 128).any()


def test_marks_are_those_of_the_frame() -> None:
    result = VideoResult(MediaInput(Path("v.mp4"), "v.mp4", "v", True), ("mouth",))
    for number in range(1, 4):
        result.add_frame(MediaFrame(number, 0.0, np.zeros((2, 2, 3), np.uint8)))
    result.add_face(
        FaceRow(1, 0, np.array([1, 2, 3, 4]), np.eye(2, 3)), {"mouth": np.array([5, 6, 2, 2, 0])}, [np.zeros(2)]
    )
    probs = np.array([[0.9, 0.1], [0.2, 0.8]])
    result.clips = [ClipPredictions("v_left", np.array([0, 1]), np.array([-1, 0]), np.array([False, True]), probs)]
    marks = FaceMarks(result)
    (first,), (second,) = marks.at(0), marks.at(1)
    assert (first.title, first.box, first.seen) == ("left", None, False)
    assert second.box is not None
    assert (second.box.tolist(), second.regions.tolist()) == ([1, 2, 3, 4], [[[4, 5], [6, 5], [6, 7], [4, 7]]])
    assert second.probs is not None
    assert second.probs.tolist() == [0.2, 0.8]
    assert marks.at(2) == []


def test_times_have_minutes_and_seconds() -> None:
    assert [time_label(7, seconds) for seconds in (3.284, 75.5, float("nan"))] == ["0:03.28", "1:15.50", "frame 7"]
