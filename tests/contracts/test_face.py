"""A face's similarity to the ArcFace template, against scikit-image's, and the choice among several."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform

from fusionkit.contracts.extractor import TEMPLATE, Face, choose

SEEDS = st.integers(0, 2**32 - 1)


def face(points: object, box: object = (0, 0, 9, 9)) -> Face:
    return Face(np.array(box, float), 0.9, np.array(points, float))


@given(SEEDS, st.floats(-180, 180), st.floats(0.01, 50), st.floats(-5000, 5000), st.floats(0, 20))
def test_the_similarity_is_scikit_images_least_squares_one(seed, roll, scale, shift, noise):
    turned = SimilarityTransform(scale=scale, rotation=np.deg2rad(roll), translation=(shift, -shift))(TEMPLATE)
    points = turned + np.random.default_rng(seed).normal(size=(5, 2)) * noise * scale
    found = face(points).to_template()
    expected = SimilarityTransform.from_estimate(points, TEMPLATE)
    assert found is not None
    at = points.mean(0)  # far from the origin the shift alone says little
    np.testing.assert_allclose(found[:, :2] * scale, expected.params[:2, :2] * scale, atol=1e-6)
    np.testing.assert_allclose(found[:, :2] @ at + found[:, 2], expected(at[None])[0], atol=1e-5)


def test_points_of_the_template_stay_where_they_are():
    np.testing.assert_allclose(face(TEMPLATE).to_template(), np.eye(2, 3), atol=1e-12)


def test_it_is_the_geometry_of_insightface():
    from insightface.utils.face_align import estimate_norm

    points = TEMPLATE * 2.3 + np.random.default_rng(0).normal(size=(5, 2)) * 4 + (80, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its use of scikit-image
        np.testing.assert_allclose(face(points).to_template(), estimate_norm(points), atol=1e-5)


@pytest.mark.parametrize(
    "points", [np.zeros((5, 2)), np.full((5, 2), 7.5), np.full((5, 2), np.nan), [[np.inf, 0], *[[0, 0]] * 4]]
)
def test_degenerate_points_give_none(points):
    assert face(points).to_template() is None


def test_the_largest_the_most_central_the_leftmost_or_the_rightmost_is_chosen():
    faces = [face(TEMPLATE, box) for box in [(0, 0, 20, 20), (40, 40, 55, 60), (70, 10, 100, 50)]]
    for which, place in {"left": 0, "central": 1, "largest": 2, "right": 2}.items():
        assert choose(faces, which, 100, 100) is faces[place]
    assert choose([], "largest", 100, 100) is None
    with pytest.raises(ValueError, match="'best' must be one of: largest, central, left, right"):
        choose(faces, "best", 100, 100)
