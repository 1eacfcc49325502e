"""Zoom on the regions of a large frame."""

import numpy as np
import pytest
from toy_faces import Dots, frame_of, place

from fusionkit.data.contact_sheet import is_enlarged, zoom


@pytest.mark.parametrize(("x", "y"), [(160, 120), (20, 15), (310, 230)])
def test_regions_and_landmarks_keep_their_position(x: int, y: int):
    frame = frame_of(place(x, y, 0.3, 20))
    frame[120, 160] = frame[15, 20] = frame[230, 310] = (1, 2, 3)
    box = np.array([x + 0.5, y + 0.5, 20, 10, 20], np.float32)
    part = zoom(frame, {"eye": box, "gone": box * np.nan}, np.array([[x, y]]))
    assert part is not None
    square, boxes, marks = part
    assert square.shape[0] == square.shape[1] < 60
    assert square[tuple(marks[0][::-1])].tolist() == [1, 2, 3]
    np.testing.assert_allclose(boxes["eye"][:2] - 0.5, marks[0])
    np.testing.assert_array_equal(boxes["eye"][2:], box[2:])
    assert np.isnan(boxes["gone"]).all()


def test_a_face_that_fills_its_frame_is_not_enlarged_and_without_regions_there_is_no_zoom():
    dots = Dots()
    for frame, small in ((frame_of(place(55.5, 60), height=112, width=112), False), (frame_of(place(160, 120)), True)):
        found = dots([frame])
        part = zoom(frame, dict(zip(dots.regions, found.boxes[0], strict=True)), found.landmarks[0])
        assert part is not None
        assert is_enlarged(part[0], frame) == small
    assert zoom(frame, {"eye": np.full(5, np.nan)}, None) is None
