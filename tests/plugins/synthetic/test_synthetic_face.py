"""Faces: landmarks and pixels move as the facial actions say."""

import dataclasses

import cv2
import numpy as np
import pytest

from fusionkit_synthetic.action import Pose, actions, sides
from fusionkit_synthetic.canvas import MARGIN, SCALE, SIDE, SIZE
from fusionkit_synthetic.eye import brow_line, eye_shape
from fusionkit_synthetic.face import Face
from fusionkit_synthetic.hair import FRONT
from fusionkit_synthetic.identity import BEARDS, FEMININE_STYLES, MASCULINE_STYLES, draw_identity
from fusionkit_synthetic.mouth import mouth_shape
from fusionkit_synthetic.nose import nose_shape

# the region boxes of the released challenge code, and a nose box between them, as shares of the face
BOXES = {"eye": (0.20, 0.35, 0.80, 0.55), "mouth": (0.20, 0.70, 0.80, 0.90), "nose": (0.30, 0.55, 0.70, 0.70)}
PEOPLE = [draw_identity(np.random.default_rng(seed)) for seed in range(6)]
REST = sides(actions({}))


def bare(person):
    return dataclasses.replace(person, glasses="none", beard="none", hair_style="bald", age=0.3)


def aligned(face, units, pose=Pose()):  # noqa: B008 - frozen
    canvas = face.draw(actions(units), pose)
    assert canvas.shape == (SIDE, SIDE, 3)
    edge = MARGIN * SCALE
    return cv2.resize(canvas[edge:-edge, edge:-edge], (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float64)


def change(face, units):
    """Mean absolute change of the pixels in each region box against the same face at rest."""
    difference = np.abs(aligned(face, units) - aligned(face, {})).mean(2)
    return {
        name: difference[int(y0 * SIZE) : int(y1 * SIZE), int(x0 * SIZE) : int(x1 * SIZE)].mean()
        for name, (x0, y0, x1, y1) in BOXES.items()
    }


@pytest.mark.parametrize("person", PEOPLE, ids=range(len(PEOPLE)))
def test_landmarks_stand_where_aligners_put_them(person):
    left, right = (eye_shape(person, side, REST[0]) for side in (-1, 1))
    eyes = np.stack([(eye.upper[[0, -1]].mean(0)) for eye in (left, right)])
    np.testing.assert_allclose(eyes, [[38.3, 51.7], [73.5, 51.5]], atol=1.5)
    np.testing.assert_allclose(nose_shape(person, REST).tip, [56.0, 71.7], atol=1.5)
    np.testing.assert_allclose(mouth_shape(person, REST).corners, [[41.5, 92.4], [70.7, 92.2]], atol=2.5)


@pytest.mark.parametrize("person", PEOPLE, ids=range(len(PEOPLE)))
class TestGeometry:
    def test_au12_raises_and_widens_the_mouth_corners_and_au15_lowers_them(self, person):
        rest = mouth_shape(person, REST).corners
        smile = mouth_shape(person, sides(actions({12: 1.0}))).corners
        frown = mouth_shape(person, sides(actions({15: 1.0}))).corners
        assert (rest[:, 1] - smile[:, 1] > 3).all()
        assert np.diff(smile[:, 0]) > np.diff(rest[:, 0]) + 4
        assert (frown[:, 1] - rest[:, 1] > 2).all()

    def test_a_one_sided_smile_moves_one_corner(self, person):
        rest = mouth_shape(person, REST).corners
        smirk = mouth_shape(person, sides(actions({12: 1.0}, {}))).corners
        assert rest[0, 1] - smirk[0, 1] > 3
        assert abs(rest[1, 1] - smirk[1, 1]) < 0.5

    def test_au4_lowers_the_brows_and_brings_them_together(self, person):
        rest, frown = (brow_line(person, 1, sides(actions(units))[1]) for units in ({}, {4: 1.0}))
        assert (frown[:, 1] > rest[:, 1]).all()
        assert frown[0, 0] < rest[0, 0] - 1

    def test_au1_lifts_the_inner_and_au2_the_outer_brow(self, person):
        rest, inner, outer = (brow_line(person, -1, sides(actions(units))[0]) for units in ({}, {1: 1.0}, {2: 1.0}))
        assert rest[0, 1] - inner[0, 1] > 3
        assert abs(rest[-1, 1] - inner[-1, 1]) < 0.5
        assert rest[-2, 1] - outer[-2, 1] > 3
        assert abs(rest[0, 1] - outer[0, 1]) < 0.5

    def test_au5_widens_au7_narrows_and_au43_closes_the_eyes(self, person):
        rest, wide, narrow, shut = (
            eye_shape(person, 1, sides(actions(units))[1]).opening for units in ({}, {5: 1.0}, {7: 1.0}, {43: 1.0})
        )
        assert wide > rest + 1.5
        assert narrow < rest - 1.5
        assert shut < 0.8

    def test_au26_opens_the_mouth_and_au24_keeps_it_shut(self, person):
        rest, open_, pressed = (
            mouth_shape(person, sides(actions(units))).opening for units in ({}, {25: 1.0, 26: 1.0}, {24: 1.0})
        )
        assert rest < 0.1
        assert open_ > 7
        assert pressed < 0.1


@pytest.mark.parametrize("person", PEOPLE[:3], ids=range(3))
class TestPixels:
    def test_au9_changes_the_nose_box_and_hardly_the_mouth_box(self, person):
        moved = change(Face(bare(person)), {9: 1.0})
        assert moved["nose"] > 2.0
        assert moved["nose"] > 3 * moved["mouth"]

    def test_au26_shows_teeth_and_darkness_between_the_lips(self, person):
        face = Face(bare(person))
        shut, open_ = (aligned(face, units)[90:104, 53:59].mean((1, 2)) for units in ({}, {25: 1.0, 26: 1.0}))
        assert open_.max() > max(200, shut.max() + 30)
        assert open_.min() < shut.min()

    def test_a_smile_moves_the_dark_seam_of_the_lips_up_at_the_corners(self, person):
        face = Face(bare(person))

        def seam(units):
            column = aligned(face, units)[82:100, 43:46].mean((1, 2))
            return 82 + float(np.argmin(column))

        assert seam({12: 1.0}) < seam({}) - 1

    @pytest.mark.parametrize(
        ("unit", "box"), [(26, "mouth"), (20, "mouth"), (15, "mouth"), (5, "eye"), (7, "eye"), (43, "eye"), (9, "nose")]
    )
    def test_a_unit_shows_most_in_its_own_region(self, person, unit, box):
        moved = change(Face(bare(person)), {unit: 1.0})
        assert max(moved, key=moved.get) == box

    def test_the_head_turns_its_nose_further_than_its_eyes(self, person):
        turned, straight = (nose_shape(person, REST, pose.near(2.6)).tip[0] for pose in (Pose(yaw=1.0), Pose()))
        assert turned - straight == pytest.approx(2.6)
        face = Face(bare(person))
        assert np.abs(aligned(face, {}, Pose(yaw=1.0)) - aligned(face, {})).mean() > 0.3


@pytest.mark.parametrize("style", sorted(set(FEMININE_STYLES + MASCULINE_STYLES)))
def test_every_hair_style_can_be_drawn_and_leaves_the_eyes_free(style):
    assert style in FRONT
    person = dataclasses.replace(bare(PEOPLE[0]), hair_style=style)
    plain, styled = aligned(Face(bare(PEOPLE[0])), {}), aligned(Face(person), {})
    np.testing.assert_allclose(styled[48:56, 30:82], plain[48:56, 30:82], atol=3)
    assert style == "bald" or np.abs(styled - plain)[:20].mean() > 4


@pytest.mark.parametrize("beard", [beard for beard in BEARDS if beard != "none"])
def test_every_beard_shows_below_the_nose_only(beard):
    person = dataclasses.replace(bare(PEOPLE[3]), beard=beard, hair=(30, 26, 28))
    difference = np.abs(aligned(Face(person), {}) - aligned(Face(dataclasses.replace(person, beard="none")), {})).mean(
        2
    )
    assert difference[:60].max() == 0
    assert difference[80:].mean() > 0.3


def test_glasses_show_around_the_eyes_only():
    person = dataclasses.replace(bare(PEOPLE[1]), glasses="round")
    difference = np.abs(aligned(Face(person), {}) - aligned(Face(bare(PEOPLE[1])), {})).mean(2)
    assert difference[40:66].mean() > 0.5
    assert difference[70:].max() == 0


def test_people_differ():
    faces = [aligned(Face(person), {}) for person in PEOPLE]
    apart = [np.abs(a - b).mean() for i, a in enumerate(faces) for b in faces[:i]]
    assert min(apart) > 8
