"""Checks of the extractor base class: shapes, and boxes without area."""

from typing import Any

import numpy as np
import pytest

from fusionkit.contracts import Extractor, Located
from fusionkit.errors import PluginError

FRAMES = [np.zeros((10, 12, 3), np.uint8)] * 2


class Toy(Extractor):
    """Returns a given result."""

    regions = ("eye", "mouth")

    def __init__(self, found: Any) -> None:
        self.found = found

    def locate(self, frames: Any) -> Located:
        return self.found  # type: ignore[no-any-return]


def test_boxes_that_cannot_be_used_are_not_found() -> None:
    good = [5.0, 5.0, 4.0, 2.0, 30.0]
    boxes = np.array([[good, [5, 5, 0, 2, 0]], [[5, 5, 4, -1, 0], [5, np.nan, 4, 2, 0]]])
    found = Toy(Located(boxes, np.ones((2, 2))))(FRAMES)
    assert found.boxes.dtype == found.score.dtype == np.float32
    np.testing.assert_array_equal(found.boxes[0, 0], good)
    assert np.isnan(found.boxes).all(-1).tolist() == [[False, True], [True, True]]
    assert found.score.tolist() == [[1, 0], [0, 0]]
    assert boxes[0, 1, 2] == 0  # what the plugin keeps is not written to
    infinite = Toy(Located(np.full((2, 2, 5), np.inf), np.ones((2, 2))))(FRAMES)
    assert np.isnan(infinite.boxes).all()


def test_landmarks_pass_unchanged() -> None:
    marks = np.arange(12.0).reshape(2, 3, 2)
    found = Toy(Located(np.ones((2, 2, 5)), np.ones((2, 2)), marks))(FRAMES)
    assert found.landmarks is marks


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            Located(np.ones((2, 2, 4)), np.ones((2, 2))),
            r"gave boxes \(2, 2, 4\) and scores \(2, 2\); expected \(2, 2, 5\)",
        ),
        (Located(np.ones((1, 2, 5)), np.ones((1, 2))), "for 2 frames and 2 regions"),
        (Located(np.ones((2, 3, 5)), np.ones((2, 3))), "for 2 frames and 2 regions"),
        (Located(np.ones((2, 2, 5)), np.ones(2)), r"scores \(2,\)"),
        (Located(np.ones((2, 2, 5)), np.ones((2, 2)), np.ones((2, 3))), r"landmarks \(2, 3\); expected \(2, K, 2\)"),
        (Located(np.ones((2, 2, 5)), np.ones((2, 2)), np.ones((1, 3, 2))), r"landmarks \(1, 3, 2\)"),
        (np.ones((2, 2, 5)), "extractor Toy gave ndarray, not Located"),
        (None, "gave NoneType, not Located"),
    ],
)
def test_results_that_break_the_contract_are_refused(found: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        Toy(found)(FRAMES)


def test_no_frames_are_located_too() -> None:
    found = Toy(Located(np.zeros((0, 2, 5)), np.zeros((0, 2))))([])
    assert found.boxes.shape == (0, 2, 5)
