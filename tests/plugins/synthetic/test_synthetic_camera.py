"""What the camera does to a drawn canvas."""

import dataclasses

import cv2
import numpy as np
import pytest

from fusionkit_synthetic.action import Pose
from fusionkit_synthetic.camera import Camera, draw_camera, film
from fusionkit_synthetic.canvas import MARGIN, SCALE, SIDE

PLAIN = Camera(np.ones((3, 3, 3), np.float32), np.zeros(2), detail=1.0, noise=0.0, grain=np.array([[3, 40], [31, 7]]))


def canvas():
    noise = np.random.default_rng(1).integers(0, 256, (30, 30, 3)).astype(np.uint8)
    return cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def shot(camera=PLAIN, pose=Pose(), image=None, number=0):  # noqa: B008 - frozen
    return film(canvas() if image is None else image, camera, number, pose).astype(np.float64)


def test_a_plain_camera_takes_the_area_mean_of_the_inner_canvas():
    means = canvas().astype(np.float64).reshape(SIDE // SCALE, SCALE, SIDE // SCALE, SCALE, 3).mean((1, 3))
    np.testing.assert_allclose(shot(), means[MARGIN:-MARGIN, MARGIN:-MARGIN], atol=1.01)


def test_a_shift_by_whole_pixels_moves_the_picture():
    moved = shot(pose=Pose(shift=(3.0, -2.0)))
    np.testing.assert_allclose(moved[:-2, 3:], shot()[2:, :-3], atol=1.01)


def test_light_scales_each_channel():
    grey = np.full((SIDE, SIDE, 3), 100, np.uint8)
    light = np.ones((3, 3, 3), np.float32) * np.array([1.2, 1.0, 0.8], np.float32)
    np.testing.assert_allclose(shot(dataclasses.replace(PLAIN, light=light), image=grey).mean((0, 1)), [120, 100, 80])


def test_noise_has_the_spread_asked_for_and_differs_between_frames():
    grey = np.full((SIDE, SIDE, 3), 120, np.uint8)
    camera = dataclasses.replace(PLAIN, noise=6.0)
    one, two = (shot(camera, image=grey, number=number) for number in (0, 1))
    assert one.std() == pytest.approx(6.0, rel=0.1)
    assert one.mean() == pytest.approx(120, abs=1)
    assert np.abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("blurred", [{"focus": np.ones(2)}, {"detail": 0.5}])
def test_blur_and_low_resolution_take_detail_away(blurred):
    def detail(picture):
        return np.abs(cv2.Laplacian(picture, cv2.CV_64F)).mean()

    assert detail(shot(dataclasses.replace(PLAIN, **blurred))) < 0.9 * detail(shot())


def test_without_difficulty_and_noise_the_camera_is_plain():
    camera = draw_camera(np.random.default_rng(5), 9, 0.0, 0.0)
    np.testing.assert_allclose(camera.light, 1.0)
    assert camera.focus.tolist() == [0.0] * 9
    assert (camera.detail, camera.noise) == (1.0, 0.0)


def test_the_strongest_noise_does_not_overflow():
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    noisy = shot(dataclasses.replace(PLAIN, noise=27.0), image=grey)
    assert noisy.std() == pytest.approx(27.0, rel=0.1)


def test_single_frames_are_out_of_focus_as_often_as_difficulty_says():
    cameras = [draw_camera(np.random.default_rng(seed), 16, 0.5, 1.0) for seed in range(200)]
    hunting = np.mean([camera.focus > camera.focus.min() + 0.4 for camera in cameras])
    assert hunting == pytest.approx(0.15, abs=0.03)
