"""Cutting views out of frames, against plain NumPy and scikit-image."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import gaussian
from skimage.transform import resize, rotate

from fusionkit.config.views import View, cut

RNG = np.random.default_rng(0)
FRAME = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
CENTRES, SIZES = st.floats(-60, 110), st.floats(0.1, 70)


def box(x: float, y: float, width: float, height: float, angle: float = 0.0) -> np.ndarray:
    return np.array([x, y, width, height, angle], dtype=np.float32)


def smooth_frame(side: int) -> np.ndarray:
    noise = gaussian(np.random.default_rng(1).random((side, side, 3)), 3, channel_axis=2)
    stretched = (noise - noise.min()) / (noise.max() - noise.min())
    return np.rint(stretched * 255).astype(np.uint8)


def half_up(value: float) -> int:
    return math.floor(float(value) + 0.5)


@given(CENTRES, CENTRES, SIZES, SIZES)
def test_an_upright_crop_is_a_slice_of_the_frame_in_a_black_plane(x: float, y: float, w: float, h: float) -> None:
    given_box = box(x, y, w, h)
    x, y, w, h = (float(value) for value in given_box[:4])
    plane = np.zeros((440, 450, 3), np.uint8)
    plane[200:240, 200:250] = FRAME
    x0, y0 = half_up(x - w / 2), half_up(y - h / 2)
    x1, y1 = max(half_up(x + w / 2), x0 + 1), max(half_up(y + h / 2), y0 + 1)
    got = cut(FRAME, {"eye": given_box}, View.parse("eye"))
    np.testing.assert_array_equal(got, plane[200 + y0 : 200 + y1, 200 + x0 : 200 + x1])


@given(st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 40).map(lambda half: half / 2))
def test_a_crop_keeps_its_size_at_any_position(dx: int, dy: int, size: float) -> None:
    start = cut(FRAME, {"eye": box(20.5, 20.0, size, 9)}, View.parse("eye"))
    moved = cut(FRAME, {"eye": box(20.5 + dx, 20.0 + dy, size, 9)}, View.parse("eye"))
    assert start is not None
    assert moved is not None
    assert start.shape == moved.shape
    assert start.shape[0] == 9


@pytest.mark.parametrize("angle", [-170.0, -90.0, -33.0, -5.0, 0.5, 12.0, 45.0, 90.0, 135.0])
def test_a_turned_crop_of_a_turned_frame_is_the_upright_crop(angle: float) -> None:
    frame = smooth_frame(120)
    upright = box(66, 52, 36, 22)
    # Clockwise on the screen, about the frame's centre; scikit-image counts angles the other way round.
    turned = np.rint(rotate(frame, -angle, order=3, preserve_range=True)).clip(0, 255).astype(np.uint8)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    dx, dy = 66 - 60, 52 - 60
    moved = box(60 + cos * dx - sin * dy, 60 + sin * dx + cos * dy, 36, 22, angle)
    got = cut(turned, {"eye": moved}, View.parse("eye"))
    wanted = cut(frame, {"eye": upright}, View.parse("eye"))
    assert got is not None
    assert wanted is not None
    assert got.shape == wanted.shape == (22, 36, 3)
    difference = np.abs(got.astype(float) - wanted)
    assert difference.mean() < 1
    assert difference.max() <= 6
    assert np.ptp(wanted) > 100  # the frame has something to show


def test_a_quarter_turn_is_exact() -> None:
    got = cut(FRAME, {"eye": box(25, 20, 16, 10, 90.0)}, View.parse("eye"))
    np.testing.assert_array_equal(got, np.rot90(FRAME[12:28, 20:30]))


@pytest.mark.parametrize("form", ["keep", "drop"])
@given(x=CENTRES, y=CENTRES, w=SIZES, h=SIZES)
def test_keep_and_drop_black_out_what_the_crop_leaves_or_takes(
    form: str, x: float, y: float, w: float, h: float
) -> None:
    boxes = {"eye": box(x, y, w, h), "mouth": box(10, 10, 5, 8)}
    places = np.zeros((40, 50), bool)
    for each in boxes.values():
        cx, cy, width, height = (float(value) for value in each[:4])
        columns, rows = np.arange(50), np.arange(40)
        x0, y0 = half_up(cx - width / 2), half_up(cy - height / 2)
        wide = (columns >= x0) & (columns < max(half_up(cx + width / 2), x0 + 1))
        high = (rows >= y0) & (rows < max(half_up(cy + height / 2), y0 + 1))
        places |= high[:, None] & wide[None, :]
    got = cut(FRAME, boxes, View.parse(f"{form}:mouth+eye"))
    np.testing.assert_array_equal(got, FRAME * (places if form == "keep" else ~places)[..., None].astype(np.uint8))


@settings(deadline=None)  # a loop over all pixels
@given(st.floats(-20, 70), st.floats(-20, 60), st.floats(1, 40), st.floats(1, 40), st.floats(-180, 180))
def test_a_turned_mask_holds_the_pixels_whose_centre_is_in_the_box(
    x: float, y: float, w: float, h: float, angle: float
) -> None:
    given_box = box(x, y, w, h, angle)
    x, y, w, h, angle = (float(value) for value in given_box)
    if angle == 0:
        return
    white = np.full((40, 50, 3), 255, np.uint8)
    kept = cut(white, {"eye": given_box}, View.parse("keep:eye"))
    dropped = cut(white, {"eye": given_box}, View.parse("drop:eye"))
    assert kept is not None
    assert dropped is not None
    np.testing.assert_array_equal(kept, 255 - dropped)
    back = complex(math.cos(math.radians(angle)), -math.sin(math.radians(angle)))
    for row in range(40):
        for column in range(50):
            seen = complex(column + 0.5 - x, row + 0.5 - y) * back
            margin = min(w / 2 - abs(seen.real), h / 2 - abs(seen.imag))
            if abs(margin) > 1e-6:
                assert (kept[row, column, 0] == 255) == (margin > 0), (row, column, margin)


def test_regions_are_stacked_as_written_at_the_width_of_the_widest() -> None:
    frame = smooth_frame(80)
    boxes = {"eye": box(40, 20, 60, 16), "mouth": box(40, 60, 30, 20)}
    eye, mouth = frame[12:28, 10:70], frame[50:70, 25:55]
    wide = resize(mouth, (40, 60), order=1, mode="edge", anti_aliasing=False, preserve_range=True)
    both = cut(frame, boxes, View.parse("eye+mouth"))
    other_way = cut(frame, boxes, View.parse("mouth+eye"))
    assert both is not None
    assert other_way is not None
    np.testing.assert_array_equal(both[:16], eye)
    np.testing.assert_allclose(both[16:], wide, atol=1.01)
    np.testing.assert_array_equal(other_way, np.concatenate([both[16:], both[:16]]))


@pytest.mark.parametrize("text", ["mouth", "eye+mouth", "keep:mouth", "keep:eye+mouth", "drop:mouth"])
def test_a_view_is_missing_if_one_of_its_regions_is(text: str) -> None:
    boxes = {"eye": box(20, 20, 10, 10), "mouth": np.full(5, np.nan, np.float32)}
    assert cut(FRAME, boxes, View.parse(text)) is None
    assert cut(FRAME, boxes, View.parse("eye")) is not None


def test_the_face_is_the_frame_itself_whatever_was_found() -> None:
    assert cut(FRAME, {}, View.parse("face")) is FRAME


def test_cutting_does_not_change_the_frame() -> None:
    frame = FRAME.copy()
    for text in ("eye", "eye+mouth", "keep:eye", "drop:eye"):
        for angle in (0.0, 20.0):
            cut(frame, {"eye": box(45, 5, 20, 20, angle), "mouth": box(5, 35, 12, 8, angle)}, View.parse(text))
    np.testing.assert_array_equal(frame, FRAME)
