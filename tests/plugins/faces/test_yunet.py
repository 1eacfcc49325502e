"""YuNet on real photos: faces, points and regions where a person would put them, however the photo is turned."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from photos import YUNET, astronaut, friends, needs_yunet, warped

from fusionkit.config.views import View, cut
from fusionkit.errors import ConfigError
from fusionkit.media.crops import align_face
from fusionkit.registry import EXTRACTORS
from fusionkit.registry.spec import Spec
from fusionkit.testing import check_extractor
from fusionkit_faces.template import Template
from fusionkit_faces.yunet import YuNet

# Marked by hand: pupils, tip of the nose, corners of the mouth.
ASTRONAUT = np.array([(205, 100), (250, 104), (226, 125), (204, 140), (242, 146)])
FRIENDS = [(115, 330), (320, 210), (520, 340), (795, 410), (957, 132), (1177, 335)]  # middles, from left to right
TURNS = [(-40, 1.0), (-20, 1.0), (20, 1.0), (40, 1.0), (0, 0.5), (0, 3.0), (40, 0.5), (-40, 0.5), (-40, 3.0), (30, 1.7)]


def yunet(**options: object) -> YuNet:
    return YuNet(str(YUNET), **options)


@needs_yunet
def test_the_points_of_a_face_are_where_a_person_sees_them():
    (face,) = yunet().detect(astronaut())
    assert np.linalg.norm(face.points - ASTRONAUT, axis=1).max() < 5
    left, top, right, bottom = face.box
    assert left < 190 < 260 < right
    assert top < 90 < 160 < bottom
    assert face.score > 0.9


@needs_yunet
def test_all_six_faces_of_a_photo_are_found_and_one_is_chosen():
    image = friends()
    faces = yunet().detect(image)
    middles = sorted((face.points.mean(0) for face in faces), key=lambda middle: middle[0])
    np.testing.assert_allclose(middles, FRIENDS, atol=35)
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
    for which, at in {"left": 0, "right": 5, "central": 2, "largest": 2}.items():
        marks = yunet(face=which)([image]).landmarks[0]
        np.testing.assert_allclose(marks.mean(0), FRIENDS[at], atol=35)


@needs_yunet
@pytest.mark.parametrize("region", ["eye", "mouth", "nose", "brow"])
def test_a_region_holds_its_points(region):
    extractor = yunet()
    box = dict(zip(extractor.regions, extractor([astronaut()]).boxes[0], strict=True))[region]
    turn = np.deg2rad(box[4])
    axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    inside = np.abs((ASTRONAUT - box[:2]) @ axes) < box[2:4] / 2
    expected = {"eye": [0, 1], "nose": [2], "mouth": [3, 4], "brow": []}
    assert np.flatnonzero(inside.all(1)).tolist() == expected[region]
    assert box[4] == pytest.approx(6, abs=3)


@needs_yunet
@pytest.mark.parametrize(("degrees", "scale"), TURNS)
def test_boxes_move_with_the_face(degrees, scale):
    """Views cut from the turned, scaled and shifted photo are those of the upright one."""
    photo = astronaut()
    extractor = yunet(layout="emotic")  # a taller box of the eyes, in which an error of a pixel moves the view less
    upright, other = extractor([photo]), extractor([warped(photo, degrees, scale, (31, -17))])
    turned = (other.boxes[0, :, 4] - upright.boxes[0, :, 4] + 180) % 360 - 180
    assert turned == pytest.approx(degrees, abs=4)
    assert other.boxes[0, :, 2] / upright.boxes[0, :, 2] == pytest.approx(scale, rel=0.08)
    for region in ("eye", "mouth", "nose"):
        views = []
        for frame, found in ((photo, upright), (warped(photo, degrees, scale, (31, -17)), other)):
            image = cut(frame, dict(zip(extractor.regions, found.boxes[0], strict=True)), View.parse(region))
            views.append(cv2.GaussianBlur(cv2.resize(image, (48, 24), interpolation=cv2.INTER_AREA), (0, 0), 1.5))
        assert np.corrcoef(*(view.astype(float).ravel() for view in views))[0, 1] > 0.9, region


@needs_yunet
def test_on_faces_that_are_aligned_its_boxes_are_nearly_those_of_template():
    extractor, image = yunet(), friends()
    crops = [align_face(image, face) for face in extractor.detect(image)]
    expected = Template("arcface")(crops[:1]).boxes[0]
    found = extractor(crops).boxes
    assert np.isfinite(found).all()
    assert np.abs(found[..., :2] - expected[:, :2]).mean() < 2
    assert np.abs(found[..., :2] - expected[:, :2]).max() < 6
    assert np.abs(found[..., 2:4] / expected[:, 2:4] - 1).max() < 0.1
    assert np.abs(found[..., 4]).max() < 7


@needs_yunet
@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (2000, 3), (48, 48)])
def test_a_frame_of_any_size_without_a_face_has_none(shape):
    assert yunet().detect(np.full((*shape, 3), 90, np.uint8)) == []


@needs_yunet
def test_a_face_that_fills_a_small_frame_is_found():
    small = cv2.resize(astronaut()[40:200, 150:310], (48, 48), interpolation=cv2.INTER_AREA)
    (face,) = yunet().detect(small)
    expected = (ASTRONAUT - (150, 40)) * 48 / 160
    assert np.linalg.norm(face.points - expected, axis=1).max() < 3


@needs_yunet
def test_it_passes_the_kit_with_a_model():
    results = check_extractor(YuNet, examples=[{"model": str(YUNET)}])
    assert {result.check: result.message for result in results if result.outcome != "passed"} == {}


@needs_yunet
def test_it_is_one_component_whatever_was_seen_before():
    """The detector is set to the size of each frame anew."""
    extractor, photo = yunet(), astronaut()
    alone = extractor([photo])
    extractor([friends(), np.zeros((30, 40, 3), np.uint8)])
    again = extractor([np.zeros((99, 50, 3), np.uint8), photo])
    np.testing.assert_array_equal(again.boxes[1], alone.boxes[0])


@pytest.mark.parametrize(
    ("option", "value", "requirement"),
    [
        ("score", 1.5, "above 0 and at most 1"),
        ("side", 20, "at least 160"),
        ("looks", -1, "at least 0"),
        ("face", "nearest", "one of: largest, central, left, right"),
    ],
)
def test_wrong_options_are_reported(option, value, requirement):
    (problem,) = EXTRACTORS.problems(Spec("yunet", {"model": str(YUNET), option: value}))
    assert f"option {option} = {value!r} must be {requirement}" in problem


@pytest.mark.parametrize("content", [None, b"", b"no model", b"<html>404</html>"])
def test_a_file_that_is_no_detector_is_told_with_where_there_is_one(tmp_path: Path, content):
    model = tmp_path / "detector.onnx"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(ConfigError, match=r"yunet: model='.*detector.onnx' must be a (file|YuNet detector)") as told:
        YuNet(str(model))
    assert "opencv_zoo" in str(told.value)


def test_a_model_with_other_outputs_is_told(tmp_path: Path, capfd):
    import onnx
    from tiny_pack import Said, detector

    onnx.save(detector([Said(np.array([10.0, 10, 90, 90]), np.full((5, 2), 50.0))]), str(tmp_path / "scrfd.onnx"))
    with pytest.raises(ConfigError, match=r"scrfd\.onnx' must be a YuNet detector"):
        YuNet(str(tmp_path / "scrfd.onnx"))
    assert capfd.readouterr() == ("", "")
