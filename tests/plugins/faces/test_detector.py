"""Regions of a face anywhere in a frame: the boxes of ``template`` on the aligned face, carried back."""

import numpy as np
import pytest
from toy_faces import Dots, draw_face, frame_of, moved, place

from fusionkit.config.views import View, cut
from fusionkit.contracts import Face
from fusionkit.contracts.extractor import TEMPLATE
from fusionkit.registry.options import check_options
from fusionkit.testing import check_extractor
from fusionkit_faces.detector import in_frame
from fusionkit_faces.template import Template

PLACES = [(160, 120, 1, 0), (160, 120, 0.5, 40), (400, 300, 3, -40), (150, 200, 1.3, 97), (300, 90, 0.7, -15)]


def face_at(similarity: np.ndarray) -> Face:
    points = moved(TEMPLATE, similarity)
    return Face(np.concatenate([points.min(0), points.max(0)]), 0.9, points)


def boxes_112() -> np.ndarray:
    return Template().locate([np.empty((112, 112, 3), np.uint8)]).boxes[0]


@pytest.mark.parametrize("where", PLACES)
def test_corners_of_the_boxes_are_those_of_the_template_under_the_faces_similarity(where):
    similarity = place(*where)
    for given, box in zip(boxes_112(), in_frame(boxes_112(), face_at(similarity)), strict=True):
        turn = np.deg2rad(box[4])
        axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        for sign in ([-1, -1], [1, -1], [1, 1], [-1, 1]):
            corner = given[:2] + np.array(sign) * given[2:4] / 2 - 0.5  # points count from the centre of a pixel
            found = box[:2] + (np.array(sign) * box[2:4] / 2) @ axes - 0.5
            np.testing.assert_allclose(found, moved(corner[None], similarity)[0], atol=1e-3)


def test_an_aligned_face_has_the_boxes_of_the_template_itself():
    np.testing.assert_allclose(in_frame(boxes_112(), face_at(np.eye(2, 3))), boxes_112(), atol=1e-4)


def test_points_that_coincide_give_no_boxes():
    assert np.isnan(in_frame(boxes_112(), Face(np.array([0, 0, 9, 9]), 0.9, np.full((5, 2), 4.0)))).all()


@pytest.mark.slow
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("region", ["eye", "mouth", "nose", "brow"])
def test_views_of_a_face_that_leans_are_those_of_the_upright_one(where, region):
    upright, leaning = np.full((600, 800, 3), 128, np.uint8), np.full((600, 800, 3), 128, np.uint8)
    draw_face(upright, place(400, 300, where[2]))
    draw_face(leaning, place(*where))
    cuts = []
    for frame in (upright, leaning):
        dots = Dots()
        cuts.append(cut(frame, dict(zip(dots.regions, dots([frame]).boxes[0], strict=True)), View.parse(region)))
    one, other = (image.astype(float) for image in cuts)
    assert np.abs(np.subtract(one.shape, other.shape)).max() <= 1
    height, width = np.minimum(one.shape, other.shape)[:2]
    one, other = one[:height, :width], other[:height, :width]
    assert np.abs(one - other).mean() < 8
    assert region == "brow" or np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9


def test_one_of_several_faces_is_chosen_and_others_do_not_matter():
    frame = frame_of(place(60, 60, 0.5), place(150, 130, 0.4), place(260, 170, 0.8, 25))
    expected = {"largest": 260, "central": 150, "left": 60, "right": 260}
    for which, x in expected.items():
        found = Dots(face=which)([frame])
        assert found.landmarks[0].mean(0)[0] == pytest.approx(x, abs=6)
        assert abs(found.boxes[0, :, 0] - x).max() < 15
        assert (found.score == np.float32(0.9)).all()
        assert found.boxes[0, :, 4] == pytest.approx(25 if x == 260 else 0, abs=2)


def test_a_frame_without_a_face_has_nan_and_no_score():
    found = Dots()([np.zeros((40, 50, 3), np.uint8), frame_of(place(160, 120, 0.8))])
    assert np.isnan(found.boxes[0]).all()
    assert np.isnan(found.landmarks[0]).all()
    assert (found.score[0] == 0).all()
    assert np.isfinite(found.boxes[1]).all()
    assert found.landmarks.shape == (2, 5, 2)


def test_a_detector_of_ones_own_passes_the_kit():
    results = check_extractor(Dots)
    assert {result.check: result.message for result in results if result.outcome == "failed"} == {}


def test_wrong_options_are_reported():
    face, layout = check_options(Dots, {"face": "biggest", "layout": "oval"})
    assert face.startswith("option face = 'biggest' must be one of: largest, central, left, right")
    assert layout.startswith("option layout = 'oval' must be one of: emotic, arcface")
