"""Fixed boxes, checked pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.errors import ConfigError
from fusionkit.registry import EXTRACTORS
from fusionkit.registry.spec import Spec
from fusionkit_faces.template import LAYOUTS, Template

# The 2nd and 98th percentile of 68 landmarks on aligned photos, x0, y0, x1, y1 in fractions of the side.
MEASURED = {
    "eye": (0.28, 0.44, 0.73, 0.52),
    "nose": (0.39, 0.45, 0.59, 0.73),
    "mouth": (0.35, 0.76, 0.66, 0.92),
}


def edges(template: Template, height: int, width: int) -> dict[str, tuple[float, ...]]:
    """x0, y0, x1, y1 by region, computed in float32 as a cutter would."""
    boxes = template([np.zeros((height, width, 3), np.uint8)]).boxes[0]
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], axis=1)
    assert corners.dtype == np.float32
    return {region: tuple(corner.tolist()) for region, corner in zip(template.regions, corners, strict=True)}


@pytest.mark.parametrize(
    ("side", "eye", "mouth"),
    [(112, (22, 39, 89, 61), (22, 78, 89, 100)), (224, (44, 78, 179, 123), (44, 156, 179, 201))],
)
def test_eye_and_mouth_are_the_papers_pixels(side, eye, mouth):
    found = edges(Template(), side, side)
    assert found["eye"] == eye
    assert found["mouth"] == mouth


@given(st.sampled_from(sorted(LAYOUTS)), st.integers(1, 5000), st.integers(1, 5000))
def test_edges_are_fractions_of_width_and_height_cut_off_to_whole_pixels(layout, height, width):
    template = Template(layout)
    boxes = template.locate([np.broadcast_to(np.uint8(0), (height, width, 3))]).boxes[0]
    for box, (x0, y0, x1, y1) in zip(boxes, LAYOUTS[layout].values(), strict=True):
        expected = (int(x0 * width), int(y0 * height), int(x1 * width), int(y1 * height))
        cx, cy, w, h, angle = box
        assert (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2) == expected
        assert angle == 0


@pytest.mark.parametrize("region", sorted(MEASURED))
def test_arcface_boxes_hold_the_landmarks_of_aligned_faces(region):
    x0, y0, x1, y1 = (edge / 112 for edge in edges(Template("arcface"), 112, 112)[region])
    left, top, right, bottom = MEASURED[region]
    assert x0 <= left < right <= x1
    assert y0 <= top < bottom <= y1


def test_the_arcface_mouth_begins_below_the_nose_that_was_measured():
    assert edges(Template("arcface"), 112, 112)["mouth"][1] / 112 > MEASURED["nose"][3]


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_parts_stand_in_the_order_of_a_face_and_in_its_middle(layout):
    found = edges(Template(layout), 1000, 1000)
    middle = {region: (y0 + y1) / 2 for region, (_, y0, _, y1) in found.items()}
    assert sorted(middle, key=middle.get) == ["brow", "eye", "nose", "mouth"]
    assert all(abs((x0 + x1) / 2 - 500) <= 1 for x0, _, x1, _ in found.values())
    for upper, lower in [("brow", "nose"), ("eye", "mouth")]:
        assert found[upper][3] <= found[lower][1]
    assert found["nose"][3] <= found["mouth"][1] + 5  # of 1000


def test_frames_of_different_sizes_are_located_together_as_they_are_alone():
    frames = [np.zeros((h, w, 3), np.uint8) for h, w in [(112, 112), (48, 64), (300, 200), (112, 112)]]
    together = Template()(frames)
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(together.boxes[i], Template()([frame]).boxes[0])
    np.testing.assert_array_equal(together.score, np.ones((4, 4)))


def test_no_frames_give_no_boxes():
    assert Template()([]).boxes.shape == (0, 4, 5)


def test_a_frame_too_small_for_a_box_has_it_not_found():
    found = Template()([np.zeros((4, 40, 3), np.uint8)])
    eye, brow, nose, mouth = found.boxes[0]
    np.testing.assert_array_equal(eye, [20, 1.5, 24, 1, 0])  # int(1.4) to int(2.2)
    assert np.isnan(brow).all()  # int(1.16) to int(1.68)
    assert np.isnan(nose).all()  # int(2.2) to int(2.8)
    np.testing.assert_array_equal(mouth, [20, 2.5, 24, 1, 0])  # int(2.8) to int(3.6)
    np.testing.assert_array_equal(found.score[0], [1, 0, 0, 1])


def test_own_boxes_are_added_at_the_end_or_take_the_place_of_known_ones():
    template = Template(boxes={"chin": [0.25, 0.75, 0.75, 1], "nose": [0, 0, 0.5, 0.5]})
    assert template.regions == ("eye", "brow", "nose", "mouth", "chin")
    found = edges(template, 100, 200)
    assert found["chin"] == (50, 75, 150, 100)
    assert found["nose"] == (0, 0, 100, 50)
    assert edges(Template(), 100, 200)["nose"] == (60, 55, 140, 70)  # the layout itself is as it was


@pytest.mark.parametrize(
    "box",
    [
        [0.5, 0, 0.5, 1], [0.6, 0, 0.5, 1], [0, 0.7, 1, 0.7], [-0.1, 0, 1, 1], [0, 0, 1.1, 1], [0, 0, 1, 64],
        [0, 0, 1], [0, 0, 1, 1, 0], "0011", None, 0.5, [0, 0, "1", 1], [0, 0, True, 1], [float("nan"), 0, 1, 1],
    ],
)  # fmt: skip
def test_a_box_outside_the_face_or_without_area_is_refused(box):
    with pytest.raises(ConfigError, match="chin=") as caught:
        Template(boxes={"chin": box})
    assert "0 <= x0 < x1 <= 1" in str(caught.value)


@pytest.mark.parametrize("name", ["face", "eye+mouth", "a,b", "keep:eye", "", "2nd", "Chin", 3])
def test_a_name_that_no_view_could_say_is_refused(name):
    with pytest.raises(ConfigError, match="invalid region name"):
        Template(boxes={name: [0, 0, 1, 1]})


def test_all_wrong_boxes_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        Template(boxes={"chin": [0, 0, 2, 2], "face": [0, 0, 1, 1], "cheek": [0, 0, 1, 1]})
    assert [("chin" in line, "face" in line, "cheek" in line) for line in caught.value.problems] == [
        (True, False, False),
        (False, True, False),
    ]


@pytest.mark.parametrize("boxes", [[0, 0, 1, 1], "eye"])
def test_boxes_that_are_no_dict_are_refused(boxes):
    with pytest.raises(ConfigError, match=r"boxes = .* must be dict"):
        EXTRACTORS.build(Spec("template", {"boxes": boxes}))


@pytest.mark.parametrize("layout", ["arcfaces", "", None, ["emotic"]])
def test_an_unknown_layout_is_refused_with_the_known_ones(layout):
    with pytest.raises(ConfigError, match="emotic, arcface"):
        EXTRACTORS.build(Spec("template", {"layout": layout}))


def test_every_example_can_be_built_and_run():
    for options in Template.examples:
        template = Template(**options)
        assert np.isfinite(template([np.zeros((112, 112, 3), np.uint8)]).boxes).all()
