from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fusionkit.training.crop import RandomCrop, central_box, resize


def test_boxes_lie_in_the_image_with_areas_and_shapes_as_asked() -> None:
    rng = np.random.default_rng(0)
    crop = RandomCrop(8, scale=(0.2, 0.6))
    boxes = np.array([crop.box(100, 140, rng) for _ in range(2000)])
    top, left, height, width = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 100).all()
    assert (left + width <= 140).all()
    area, ratio = height * width / 14000, width / height
    assert (0.19 < area.min() < 0.21, 0.59 < area.max() < 0.61) == (True, True)
    assert (0.74 < ratio.min() < 0.78, 1.29 < ratio.max() < 1.36) == (True, True)
    assert area.mean() == pytest.approx(0.4, abs=0.01)  # uniform in area
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.02)  # and in the logarithm of the shape
    assert top.min() == 0
    assert (top + height).max() == 100


def test_an_image_that_is_too_narrow_gives_its_central_part() -> None:
    assert RandomCrop(8, scale=(1.0, 1.0)).box(30, 300, np.random.default_rng(0)) == (0, 130, 30, 40)
    assert RandomCrop(8, scale=(1.0, 1.0)).box(300, 30, np.random.default_rng(0)) == (130, 0, 40, 30)
    assert central_box(7, 11) == (0, 2, 7, 7)


@pytest.mark.parametrize("size", [20, 90])
def test_resizing_is_pillows_bicubic_within_a_grey_level(size: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 50, 3), dtype=np.uint8)
    found = resize(image, (5, 3, 40, 30), size).astype(int)
    wanted = Image.fromarray(image[5:45, 3:33]).resize((size, size), Image.Resampling.BICUBIC)
    assert np.abs(found - np.asarray(wanted).astype(int)).max() <= 1


def test_half_of_the_images_are_mirrored() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 0] = 255
    always, never, half = (RandomCrop(8, (1.0, 1.0), (1.0, 1.0), flip) for flip in (1.0, 0.0, 0.5))
    rng = np.random.default_rng(0)
    assert always(image, rng)[0, :, 0].tolist() == [0] * 7 + [255]
    assert never(image, rng)[0, :, 0].tolist() == [255] + [0] * 7
    flipped = sum(int(half(image, rng)[0, 7, 0] == 255) for _ in range(400))
    assert 160 < flipped < 240


def test_a_crop_follows_its_generator_alone() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    crop = RandomCrop(16)
    torch.manual_seed(1)
    first = crop(image, np.random.default_rng(7))
    torch.manual_seed(2)
    assert np.array_equal(crop(image, np.random.default_rng(7)), first)
    assert not np.array_equal(crop(image, np.random.default_rng(8)), first)
    assert first.shape == (16, 16, 3)
    assert first.dtype == np.uint8


def test_read_only_images_are_cut_too() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image.flags.writeable = False
    assert resize(image, (0, 0, 8, 8), 4).shape == (4, 4, 3)
