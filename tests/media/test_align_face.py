"""The aligned crop, against insightface's ``norm_crop`` and faces drawn on the template."""

import warnings

import numpy as np
import pytest
from skimage.filters import gaussian
from toy_faces import frame_of, moved, place

from fusionkit.contracts import Face
from fusionkit.contracts.extractor import TEMPLATE
from fusionkit.media.crops import align_face


def face_at(similarity: np.ndarray) -> Face:
    points = moved(TEMPLATE, similarity)
    return Face(np.concatenate([points.min(0), points.max(0)]), 0.9, points)


def noise(side: int, sigma: float) -> np.ndarray:
    smooth = gaussian(np.random.default_rng(0).random((side, side, 3)), sigma, channel_axis=2)
    return np.rint((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).astype(np.uint8)


@pytest.mark.parametrize("where", [(100, 100, 1, 0), (120, 90, 0.8, 25), (90, 130, 1.4, -38), (10, 20, 1, 10)])
def test_it_equals_norm_crop(where):
    from insightface.utils.face_align import norm_crop

    image, face = noise(240, 2), face_at(place(*where))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its use of scikit-image
        expected = norm_crop(image, face.points)
    assert np.abs(align_face(image, face).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("where", [(300, 300, 2, 30), (500, 500, 5, -20), (800, 700, 9.5, 40), (100, 80, 0.5, 5)])
def test_a_face_of_any_size_and_roll_becomes_the_face_of_the_template(where):
    side = round(max(where[:2]) * 2)
    crop = align_face(frame_of(place(*where), height=side, width=side), face_at(place(*where)))
    expected = frame_of(place(55.5, 60), height=112, width=112)
    assert crop.shape == (112, 112, 3)
    assert np.abs(crop[8:-8, 8:-8].astype(int) - expected[8:-8, 8:-8]).mean() < 6


def test_the_pixels_of_a_large_frame_are_averaged():
    rough = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    crop = align_face(rough, face_at(place(600, 600, 8)))
    assert abs(crop.mean() - 127.5) < 1
    assert crop.std() < 73.9 / 3  # of 8 x 8 pixels each; bilinear sampling alone would leave a half or more


@pytest.mark.parametrize("side", [56, 160, 224])
def test_the_template_grows_with_the_crop(side):
    image, face = noise(400, 6), face_at(place(200, 200, 2.2, 12))
    crop, small = align_face(image, face, side).astype(float), align_face(image, face).astype(float)
    assert crop.shape == (side, side, 3)
    for share in (0.25, 0.5, 0.7):
        rows = [slice(round(share * n) - round(n / 28), round(share * n) + round(n / 28)) for n in (side, 112)]
        assert np.abs(crop[rows[0], rows[0]].mean((0, 1)) - small[rows[1], rows[1]].mean((0, 1))).max() < 4


def test_pixels_outside_the_frame_are_black():
    crop = align_face(np.full((100, 100, 3), 200, np.uint8), face_at(place(0, 50)))
    assert (crop[:, :50] == 0).all()
    assert (crop[20:90, 60:] == 200).all()


def test_unusable_points_raise():
    with pytest.raises(ValueError, match="without five usable points"):
        align_face(np.zeros((9, 9, 3), np.uint8), Face(np.array([0, 0, 9, 9]), 0.9, np.zeros((5, 2))))
