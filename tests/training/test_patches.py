from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_training import patches_by_hand

from fusionkit.training.mae import draw_order, patch_statistics, patches_kept, patchify, unpatchify


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 3, 6, 9)).astype(np.float32)


def test_patches_run_row_by_row_with_the_channels_of_a_pixel_together(images: np.ndarray) -> None:
    assert np.array_equal(patchify(torch.from_numpy(images), 3).numpy(), patches_by_hand(images, 3))


def test_unpatchify_puts_the_image_together_again(images: np.ndarray) -> None:
    patches = torch.from_numpy(patches_by_hand(images, 3))
    assert np.array_equal(unpatchify(patches, 3, (2, 3)).numpy(), images)


def test_statistics_are_of_each_patch_with_the_unbiased_variance(images: np.ndarray) -> None:
    patches = patches_by_hand(images, 3).astype(np.float64)
    mean, std = patch_statistics(torch.from_numpy(patches))
    np.testing.assert_allclose(mean.numpy()[..., 0], patches.mean(-1))
    np.testing.assert_allclose(std.numpy()[..., 0], np.sqrt(patches.var(-1, ddof=1) + 1e-6))


@pytest.mark.parametrize(
    ("count", "ratio", "kept"), [(196, 0.75, 49), (64, 0.75, 16), (100, 0.9, 10), (16, 0.5, 8), (9, 0.75, 2)]
)
def test_the_number_of_visible_patches_is_exact(count: int, ratio: float, kept: int) -> None:
    assert patches_kept(count, ratio) == kept  # int(100 * (1 - 0.9)) would be 9


def test_an_order_is_a_permutation_that_its_generator_decides() -> None:
    first, again, other = (draw_order(50, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert sorted(first.tolist()) == list(range(50))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_patch_is_equally_often_visible() -> None:
    rng = np.random.default_rng(0)
    seen = np.zeros(16)
    for _ in range(4000):
        seen[draw_order(16, rng)[:4]] += 1
    assert np.abs(seen / 4000 - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 4000)
