"""A swapped region against NumPy: what changes, what does not, and in which colours."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit_datasets.region_swap import BoxedFace, box_mask, match_colour, soft_mask, swap_region

WHITE = np.array([0.950456, 1.0, 1.088754])  # D65
TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])


def lab_of(rgb):
    """CIE Lab of sRGB in 0..255, from its definition."""
    value = np.asarray(rgb, np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    t = linear @ TO_XYZ.T / WHITE
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def rgb_of(lab):
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * WHITE
    linear = np.clip(xyz @ np.linalg.inv(TO_XYZ).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def matched(donor, receiver):
    """Reinhard's transfer over whole patches."""
    own, other = lab_of(donor), lab_of(receiver)
    axes = (0, 1)
    return rgb_of((own - own.mean(axes)) / own.std(axes) * other.std(axes) + other.mean(axes))


def face(seed, low=60, high=190, height=60, width=50):
    """Soft structure in three channels, far from black and white so that nothing is clipped."""
    rough = np.random.default_rng(seed).integers(low, high, (height // 10, width // 10, 3)).astype(np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR)


BOX = np.array([25.0, 30.0, 30.0, 20.0, 0.0])  # columns 10..39, rows 20..39


def test_inside_is_the_donor_in_the_receivers_colours_and_outside_nothing_changes():
    receiver, donor = face(0), face(1, 90, 160)
    out = swap_region(BoxedFace(receiver, BOX), BoxedFace(donor, BOX), 0.3)
    outside = np.ones((60, 50), bool)
    outside[20:40, 10:40] = False
    assert np.array_equal(out[outside], receiver[outside])
    right = matched(donor[20:40, 10:40], receiver[20:40, 10:40])
    radius = 3  # half of 0.3 x 20 px
    core = np.s_[2 * radius : 20 - 2 * radius, 2 * radius : 30 - 2 * radius]
    assert np.abs(out[20:40, 10:40][core] - right[core]).max() <= 1.5
    assert np.abs(right[core] - donor[20:40, 10:40][core]).mean() > 3  # the colours did change


def test_the_edge_is_a_mixture_of_both():
    receiver, donor = face(0), face(1)
    out = swap_region(BoxedFace(receiver, BOX), BoxedFace(donor, BOX), 0.3)
    alpha = soft_mask((60, 50), BOX, 0.3)[20:40, 10:40, None].astype(np.float64)
    right = matched(donor[20:40, 10:40], receiver[20:40, 10:40])
    expected = alpha * right + (1 - alpha) * receiver[20:40, 10:40]
    assert np.abs(out[20:40, 10:40] - expected).max() <= 1.5


def test_without_a_feather_the_edge_is_hard():
    receiver, donor = face(0), face(1)
    out = swap_region(BoxedFace(receiver, BOX), BoxedFace(donor, BOX), 0.0)
    right = matched(donor[20:40, 10:40], receiver[20:40, 10:40])
    assert np.abs(out[20:40, 10:40] - right).max() <= 1.5
    assert set(np.unique(soft_mask((60, 50), BOX, 0.0))) == {0.0, 1.0}


def test_a_face_swapped_with_itself_stays():
    image = face(3)
    assert np.abs(swap_region(BoxedFace(image, BOX), BoxedFace(image, BOX), 0.3).astype(int) - image).max() <= 1


@given(
    box=st.tuples(st.floats(5, 45), st.floats(5, 55), st.floats(3, 40), st.floats(3, 40), st.floats(-60, 60)),
    feather=st.floats(0, 0.5),
)
def test_the_mask_lies_in_0_to_1_never_leaves_the_box_and_has_no_step(box, feather):
    at = np.array(box)
    alpha = soft_mask((60, 50), at, feather)
    assert alpha.dtype == np.float32
    assert 0 <= alpha.min() <= alpha.max() <= 1
    assert not alpha[~box_mask((60, 50), at, 0.0)].any()
    radius = round(feather * min(box[2:4]) / 2)
    if radius:
        steps = max(np.abs(np.diff(alpha, axis=axis)).max(initial=0) for axis in (0, 1))
        kernel = cv2.getGaussianKernel(2 * radius + 1, radius / 2).max()
        assert steps <= kernel + 1e-5


def test_a_donor_of_another_size_place_and_angle_is_brought_to_the_receivers_box():
    upright = face(5)
    turned_box = np.array([70.0, 60.0, 60.0, 40.0, 25.0])  # twice the size, turned
    angle = np.deg2rad(25)
    turn = 2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = turned_box[:2] - 0.5 - turn @ (BOX[:2] - 0.5)
    donor = cv2.warpAffine(upright, np.column_stack([turn, shift]), (150, 130), flags=cv2.INTER_LINEAR)
    receiver = face(6)
    straight = swap_region(BoxedFace(receiver, BOX), BoxedFace(upright, BOX), 0.3)
    brought = swap_region(BoxedFace(receiver, BOX), BoxedFace(donor, turned_box), 0.3)
    assert np.abs(brought.astype(int) - straight).mean() < 0.5
    assert np.abs(straight.astype(int) - receiver).mean() > 1


def test_a_plain_patch_is_shifted_not_scaled():
    plain, other = np.full((8, 8, 3), 90, np.uint8), face(2)[:8, :8]
    out = match_colour(plain, other, np.ones((8, 8), bool))
    expected = rgb_of(lab_of(other).mean((0, 1)))
    assert np.abs(out - expected).max() < 1


@pytest.mark.parametrize("box", [(2, 3, 20, 10, 0), (48, 58, 20, 20, 30), (200, 200, 10, 10, 0)])
def test_a_box_that_reaches_out_of_the_image_changes_only_what_is_in_it(box):
    receiver = face(0)
    at = np.array(box, float)
    out = swap_region(BoxedFace(receiver, at), BoxedFace(face(1), BOX), 0.3)
    outside = ~box_mask((60, 50), at, -1.0)
    assert np.array_equal(out[outside], receiver[outside])
    assert (out != receiver).any() == bool(box_mask((60, 50), at, 0.0).any())
