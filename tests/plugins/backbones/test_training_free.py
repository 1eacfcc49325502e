"""The cosine transform against its explicit sum, and random features against the projection frame by frame."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest

from fusionkit.errors import ConfigError
from fusionkit.registry import BACKBONES
from fusionkit.registry.spec import Spec
from fusionkit_backbones.dct import Dct
from fusionkit_backbones.random_features import RandomFeatures


def views(size: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def zigzag(block: int) -> list[tuple[int, int]]:
    """The path of a JPEG block, walked step by step."""
    row, column, path = 0, 0, []
    for _ in range(block * block):
        path.append((row, column))
        up = (row + column) % 2 == 0
        if (up and column == block - 1) or (not up and row == block - 1):
            row, column = (row + 1, column) if up else (row, column + 1)
        elif up:
            row, column = max(row - 1, 0), column + 1
        else:
            row, column = row + 1, max(column - 1, 0)
    return path


@pytest.mark.parametrize(("size", "block", "keep"), [(16, 4, 6), (12, 6, 35), (8, 8, 10)])
def test_dct_keeps_the_lowest_frequencies_of_each_block_in_zigzag_order(size: int, block: int, keep: int) -> None:
    batch = views(size, 2)
    found = Dct(size, block, keep)(batch)
    assert found.dtype == np.float32
    for view, row in zip(batch, found, strict=True):
        grey = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) / 255
        expected = []
        for top in range(0, size, block):
            for left in range(0, size, block):
                for u, v in zigzag(block)[1 : keep + 1]:
                    scale = math.sqrt((1 if u == 0 else 2) * (1 if v == 0 else 2)) / block
                    expected.append(
                        scale
                        * sum(
                            grey[top + y, left + x]
                            * math.cos(math.pi * (2 * y + 1) * u / (2 * block))
                            * math.cos(math.pi * (2 * x + 1) * v / (2 * block))
                            for y in range(block)
                            for x in range(block)
                        )
                    )
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_dct_does_not_see_overall_brightness() -> None:
    dark = views(48) // 4 + 20
    np.testing.assert_allclose(Dct()(dark), Dct()(dark + 100), atol=0.02)  # grey is rounded to whole levels


def test_random_features_are_a_rectified_projection_of_pixels_of_length_one() -> None:
    batch, model = views(8), RandomFeatures(16, 8, seed=3)
    weights = np.random.default_rng(3).standard_normal((64, 16)).astype(np.float32)
    for view, row in zip(batch, model(batch), strict=True):
        pixels = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).astype(float).ravel()
        pixels -= pixels.mean()
        expected = np.maximum(pixels / np.sqrt((pixels**2).sum()) @ weights, 0)
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)
    assert not np.array_equal(RandomFeatures(16, 8, seed=4)(batch), model(batch))
    assert np.array_equal(model(batch[1:2])[0], model(batch)[1])
    assert np.array_equal(model(np.full((1, 8, 8, 3), 7, np.uint8)), np.zeros((1, 16)))
    assert model.cost() == (1024, 2048 / 1e9)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("dct", {"size": 50}, "block = 8 must divide size = 50"),
        ("dct", {"keep": 64}, "keep = 64 must be at most 63"),
        ("dct", {"block": 0}, "block = 0 must be at least 1"),
        ("random-features", {"dim": 0}, "dim = 0 must be at least 1"),
        ("random-features", {"size": 1}, "size = 1 must be at least 2"),
        ("random-features", {"seed": -1}, "seed = -1 must be at least 0"),
    ],
)
def test_wrong_options_are_refused_in_one_line(name: str, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        BACKBONES.build(Spec(name, options))
    (problem,) = refused.value.problems
    assert name in problem
    assert expected in problem
