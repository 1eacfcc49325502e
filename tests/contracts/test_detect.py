"""Checks of the extractor base class: faces of a detector."""

from typing import Any

import numpy as np
import pytest

from fusionkit.contracts import Face
from fusionkit.contracts.extractor import TEMPLATE
from fusionkit.errors import PluginError
from fusionkit_faces.template import Template

FRAME = np.zeros((10, 12, 3), np.uint8)


class Told(Template):
    """Returns given faces."""

    def __init__(self, *faces: Any) -> None:
        super().__init__()
        self.given = faces

    def faces(self, frame: np.ndarray) -> list[Face]:
        return list(self.given)


def test_good_faces_pass_in_their_order():
    faces = [Face(np.array([0, 0, 5, 5]), 1, TEMPLATE), Face(np.array([1, 1, 2, 2]), 0.5, TEMPLATE, np.ones((7, 2)))]
    found = Told(*faces).detect(FRAME)
    assert [face.score for face in found] == [1.0, 0.5]
    assert found[1].landmarks is faces[1].landmarks
    assert found[0].box.dtype == np.float64


@pytest.mark.parametrize(
    ("box", "points"),
    [
        ([0, 0, np.nan, 5], TEMPLATE),
        ([5, 0, 5, 5], TEMPLATE),
        ([0, 9, 5, 5], TEMPLATE),
        ([0, 0, 5, 5], TEMPLATE * np.nan),
        ([0, 0, 5, 5], TEMPLATE * 0),
    ],
)
def test_a_face_that_cannot_be_used_is_left_out(box, points):
    assert Told(Face(np.array(box, float), 0.9, points)).detect(FRAME) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, 0, 5, 5), "extractor Told gave tuple as a face, not Face"),
        (Face(np.zeros(5), 1, TEMPLATE), r"a face with box \(5,\) and points \(5, 2\); expected \(4,\) and \(5, 2\)"),
        (Face(np.zeros(4), 1, TEMPLATE[:3]), r"points \(3, 2\)"),
    ],
)
def test_faces_that_break_the_contract_are_refused(given, message):
    with pytest.raises(PluginError, match=message):
        Told(given).detect(FRAME)


def test_an_extractor_without_face_detection_is_refused():
    assert Told().finds_faces
    assert not Template().finds_faces
    with pytest.raises(PluginError, match="extractor Template does not detect faces"):
        Template().detect(FRAME)
