"""Video on its side or upside down: one turn for a whole input, chosen by its faces, or given."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from photos import YUNET, astronaut, needs_yunet
from toy_faces import Dots, frame_of, place
from toy_videos import write_video

from fusionkit.contracts import Face
from fusionkit.errors import ConfigError
from fusionkit.media.align import align
from fusionkit.media.coverage import write_coverage
from fusionkit.media.face_tracking import DetectionOptions
from fusionkit.media.inputs import find_inputs
from fusionkit.media.turns import TURNS, turn_of, upright
from fusionkit.media.video import turned
from fusionkit_faces.yunet import YuNet


class Fussy(Dots):
    """Finds faces in every direction, those that are not upright with a lower score, and counts its calls."""

    def __init__(self, low: float = 0.7, high: float = 0.85) -> None:
        super().__init__()
        self.low, self.high, self.calls = low, high, 0

    def faces(self, frame: np.ndarray) -> list[Face]:
        self.calls += 1
        found = super().faces(frame)
        return [Face(face.box, self.low if _tilt(face) > 45 else self.high, face.points) for face in found]


def _tilt(face: Face) -> float:
    eyes = face.points[1] - face.points[0]
    return abs(float(np.degrees(np.arctan2(eyes[1], eyes[0]))))


def film(path: Path, turn: int, empty: int = 0) -> Path:
    """Frames that are upright again when they are turned clockwise by ``turn``."""
    blank = [np.full((240, 320, 3), 128, np.uint8)] * empty
    frames = blank + [frame_of(place(120 + 3 * n, 110, 0.9, 20)) for n in range(12)]
    return write_video(path, [turned(frame, -turn) for frame in frames], codec="ffv1")


def found_turn(path: Path, detector: Dots, rotate: int | None = None) -> int:
    (item,), _ = find_inputs([path])
    return upright(item, DetectionOptions(detector, rotate=rotate)).turn


def test_an_image_is_turned_clockwise():
    image = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(turned(image, 90)[0, 1], image[0, 0])
    np.testing.assert_array_equal(turned(image, 180)[1, 2], image[0, 0])
    np.testing.assert_array_equal(turned(image, 270)[2, 0], image[0, 0])


@pytest.mark.parametrize("turn", TURNS)
def test_crops_of_turned_video_are_those_of_upright_video(tmp_path, turn):
    crops = []
    for name, by in (("upright", 0), ("turned", turn)):
        found, _ = find_inputs([film(tmp_path / f"{name}.mkv", by)])
        outcomes = list(align(found, DetectionOptions(Fussy()), {}, tmp_path / name))
        write_coverage(outcomes, tmp_path / name)
        with (tmp_path / name / "coverage.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["turned"], row["coverage"]) == (str(by), "1")
        crops.append([path.read_bytes() for path in sorted((tmp_path / name).rglob("*.jpg"))])
    assert len(crops[0]) == 12
    assert crops[0] == crops[1]


def test_one_turn_is_chosen_for_all_frames(tmp_path):
    frames = [frame_of(place(160, 120), height=240, width=240)] * 30
    frames[10] = turned(frames[10], 90)  # of the frames that are tried, 1, 11 and 21, one says something else
    assert found_turn(write_video(tmp_path / "odd.mkv", frames, codec="ffv1"), Fussy()) == 0


def test_frames_without_a_face_do_not_decide(tmp_path):
    assert found_turn(film(tmp_path / "late.mkv", 90, empty=35), Fussy()) == 90


def test_faces_with_high_scores_are_not_tried_in_other_directions(tmp_path):
    detector = Fussy(high=0.95)
    assert found_turn(film(tmp_path / "sure.mkv", 0, empty=0), detector) == 0
    assert detector.calls == 2  # frames 1 and 11


def test_equal_scores_leave_the_frames_as_they_are(tmp_path):
    assert found_turn(film(tmp_path / "equal.mkv", 90), Fussy(low=0.8, high=0.82)) == 0


def test_a_turn_that_is_given_is_used_without_a_look(tmp_path):
    detector = Fussy()
    assert found_turn(film(tmp_path / "given.mkv", 90), detector, rotate=180) == 180
    assert detector.calls == 0


def test_the_option_names_its_values():
    assert [turn_of(text) for text in ("auto", "0", "270")] == [None, 0, 270]
    with pytest.raises(ConfigError, match="option rotate = '45' must be one of: auto, 0, 90, 180, 270"):
        turn_of("45")


@needs_yunet
@pytest.mark.parametrize("turn", TURNS)
def test_a_real_photo_is_turned_upright(tmp_path, turn):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), turned(astronaut(), -turn)[..., ::-1])
    assert found_turn(path, YuNet(str(YUNET))) == turn
