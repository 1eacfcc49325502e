"""Drawing primitives against textbook formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusionkit_synthetic.canvas import (
    MARGIN,
    SCALE,
    SIDE,
    SIZE,
    bump,
    curve,
    ellipse,
    fill,
    mirrored,
    mix,
    tone,
)

POINTS = arrays(np.float64, st.tuples(st.integers(2, 7), st.just(2)), elements=st.floats(-10, 120))


def catmull_rom(points, per_segment, closed):
    """The textbook formula, point by point."""
    n, line = len(points), []
    at = (lambda i: points[i % n]) if closed else (lambda i: points[min(max(i, 0), n - 1)])
    for i in range(n if closed else n - 1):
        p0, p1, p2, p3 = (at(i + k) for k in (-1, 0, 1, 2))
        for step in range(per_segment):
            t = step / per_segment
            cubic = (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
            line.append(0.5 * (2 * p1 + (p2 - p0) * t + cubic))
    return np.array(line if closed else [*line, points[-1]])


@given(points=POINTS, per_segment=st.integers(1, 8), closed=st.booleans())
def test_a_curve_is_the_catmull_rom_spline(points, per_segment, closed):
    np.testing.assert_allclose(curve(points, per_segment, closed), catmull_rom(points, per_segment, closed), atol=1e-9)


def test_many_curves_at_once_equal_each_alone():
    lines = np.random.default_rng(0).uniform(0, 112, (5, 4, 2))
    np.testing.assert_allclose(curve(lines, 3), np.stack([curve(line, 3) for line in lines]))


def test_a_filled_square_covers_its_area_about_its_centre():
    mask = np.zeros((SIDE, SIDE), np.uint8)
    fill(mask, np.array([(30.0, 40.0), (70.0, 40.0), (70.0, 60.0), (30.0, 60.0)]), 1)
    y, x = np.nonzero(mask)
    assert len(x) == pytest.approx(40 * 20 * SCALE**2, rel=0.05)
    assert (x.mean() + 0.5) / SCALE - MARGIN - 0.5 == pytest.approx(50, abs=0.3)
    assert (y.mean() + 0.5) / SCALE - MARGIN - 0.5 == pytest.approx(50, abs=0.3)


def test_an_ellipse_has_the_area_of_one():
    mask = np.zeros((SIDE, SIDE), np.uint8)
    ellipse(mask, (56.0, 56.0), (20.0, 10.0), 1)
    assert np.count_nonzero(mask) == pytest.approx(np.pi * 20 * 10 * SCALE**2, rel=0.05)


def test_a_bump_is_a_gaussian_hill_in_face_units():
    hill = bump(50.0, 30.0, 8.0, 4.0)
    for row, column in ((0, 0), (60, 108), (77, 120), (239, 239)):
        x, y = ((index + 0.5) / SCALE - MARGIN - 0.5 for index in (column, row))
        assert hill[row, column] == pytest.approx(np.exp(-(((x - 50) / 8) ** 2) - ((y - 30) / 4) ** 2), abs=1e-6)


@given(points=POINTS)
def test_mirroring_twice_gives_the_points_back(points):
    np.testing.assert_allclose(mirrored(mirrored(points)), points, atol=1e-9)
    np.testing.assert_allclose(mirrored(points)[:, 0] + points[:, 0], SIZE)


def test_colours_mix_and_fade():
    assert mix((0, 100, 200), (100, 100, 0), 0.25) == (25, 100, 150)
    assert tone((100, 200, 10), 1.5) == (150, 255, 15)
