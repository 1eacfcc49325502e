from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import hog

from fusionkit.errors import ConfigError
from fusionkit.registry import BACKBONES
from fusionkit.registry.spec import Spec
from fusionkit_backbones.hog import Hog

ROUNDING = 2e-7  # two units in the last place of a float32 just below one


def images(seed: int, count: int, size: int, smoothness: float = 0.0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return np.stack([cv2.GaussianBlur(image, (0, 0), smoothness) if smoothness else image for image in noise])


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def reference(image: np.ndarray, channel_axis: int | None, *, orientations=9, cell_size=8, block_size=2) -> np.ndarray:
    return hog(
        image,
        orientations=orientations,
        pixels_per_cell=(cell_size, cell_size),
        cells_per_block=(block_size, block_size),
        block_norm="L2-Hys",
        channel_axis=channel_axis,
    )


def has_ties(image: np.ndarray) -> bool:
    """Whether two channels are equally strong at some pixel, so that rounding decides in scikit-image."""
    levels = image.astype(int)
    d_y, d_x = np.zeros((2, *image.shape), int)
    d_y[1:-1], d_x[:, 1:-1] = levels[2:] - levels[:-2], levels[:, 2:] - levels[:, :-2]
    length = d_y**2 + d_x**2
    strongest = length == length.max(-1, keepdims=True)
    return bool(((strongest.sum(-1) > 1) & (length.max(-1) > 0)).any())


@pytest.mark.slow
@pytest.mark.parametrize("smoothness", [0.0, 2.0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": 96},
        {"size": 50},  # pixels beyond the last whole cell
        {"size": 37, "cell_size": 5, "block_size": 3},  # odd cells
        {"size": 17, "cell_size": 1, "block_size": 1},
        {"size": 16, "cell_size": 16, "block_size": 1, "orientations": 1},
        {"size": 63, "cell_size": 7, "block_size": 4, "orientations": 12},
        {"size": 2, "cell_size": 1, "block_size": 2},  # border pixels only
        {"size": 200, "orientations": 18},  # one view fills more than a chunk
    ],
)
def test_equals_scikit_image_on_grey(options, smoothness):
    backbone = Hog(**options)
    views = images(3, 20, backbone.size, smoothness)
    shape = {name: value for name, value in options.items() if name != "size"}
    expected = np.stack([reference(grey(view), None, **shape) for view in views])
    embedding = backbone(views)
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding, expected, rtol=0, atol=ROUNDING)


@settings(max_examples=examples(60))
@given(
    seed=st.integers(0, 2**32 - 1),
    cell_size=st.integers(1, 9),
    block_size=st.integers(1, 3),
    orientations=st.integers(1, 13),
    cells=st.integers(0, 4),
    beyond=st.integers(0, 8),
    smoothness=st.sampled_from([0.0, 1.0, 5.0]),
)
def test_equals_scikit_image_whatever_the_options(seed, cell_size, block_size, orientations, cells, beyond, smoothness):
    size = cell_size * (block_size + cells) + beyond % cell_size
    options = {"cell_size": cell_size, "block_size": block_size, "orientations": orientations}
    view = images(seed, 1, size, smoothness)
    np.testing.assert_allclose(
        Hog(size=size, **options)(view)[0], reference(grey(view[0]), None, **options), rtol=0, atol=ROUNDING
    )


@pytest.mark.parametrize("options", [{}, {"size": 50}, {"size": 37, "cell_size": 5, "block_size": 3}])
def test_equals_scikit_image_on_colour(options):
    backbone = Hog(**options, colour=True)
    shape = {name: value for name, value in options.items() if name != "size"}
    views = np.stack([view for view in images(5, 60, backbone.size) if not has_ties(view)])
    assert len(views) > 5
    expected = np.stack([reference(view, -1, **shape) for view in views])
    np.testing.assert_allclose(backbone(views), expected, rtol=0, atol=ROUNDING)


def naive_strongest_channel(view: np.ndarray) -> np.ndarray:
    """Histograms (cells, cells, 9) of 8 px cells, pixel by pixel, the first of equally strong channels voting."""
    size = len(view)
    levels = view.astype(int)
    histogram = np.zeros((size // 8, size // 8, 9))
    for y in range(size):
        for x in range(size):
            gradients = []
            for channel in range(3):
                d_y = levels[y + 1, x, channel] - levels[y - 1, x, channel] if 0 < y < size - 1 else 0
                d_x = levels[y, x + 1, channel] - levels[y, x - 1, channel] if 0 < x < size - 1 else 0
                gradients.append((d_y, d_x))
            d_y, d_x = max(gradients, key=lambda g: g[0] ** 2 + g[1] ** 2)
            histogram[y // 8, x // 8, int(np.degrees(np.arctan2(d_y, d_x)) % 180 // 20)] += np.hypot(d_y, d_x)
    return histogram


def test_colour_lets_the_first_of_equally_strong_channels_vote():
    # Few levels make exact ties common.
    views = images(7, 2, 32) // 64 * 8
    expected = []
    for view in views:
        histogram = naive_strongest_channel(view)
        unit = np.minimum(histogram / np.linalg.norm(histogram, axis=-1, keepdims=True), 0.2)
        expected.append((unit / np.linalg.norm(unit, axis=-1, keepdims=True)).ravel())
    np.testing.assert_allclose(Hog(size=32, block_size=1, colour=True)(views), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("colour", [False, True])
def test_constant_image_has_no_orientation(colour):
    backbone = Hog(colour=colour)
    assert not backbone(np.full((2, 48, 48, 3), 131, np.uint8)).any()


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("size", [48, 50, 200])
def test_row_does_not_depend_on_the_others(colour, size):
    backbone = Hog(size=size, colour=colour)
    views = images(11, 20, size)
    views[::3] = 255
    together = backbone(views)
    alone = np.concatenate([backbone(view[None]) for view in views])
    assert together.tobytes() == alone.tobytes()
    assert backbone(views[::-1]).tobytes() == together[::-1].tobytes()


def test_empty_batch_gives_no_rows():
    assert Hog()(np.empty((0, 48, 48, 3), np.uint8)).shape == (0, 900)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "option size = 0 must be at least 1"),
        ({"orientations": 4.5}, "option orientations = 4.5 must be int"),
        ({"block_size": True}, "option block_size = True must be int"),
        ({"colour": "no"}, "option colour = 'no' must be bool"),
        ({"size": 15}, "option size = 15 must be at least cell_size x block_size = 16"),
    ],
)
def test_wrong_option_is_refused_in_one_line(options, message):
    with pytest.raises(ConfigError) as error:
        BACKBONES.build(Spec("hog", options))
    assert "hog" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_all_wrong_options_are_named_at_once():
    problems = BACKBONES.problems(Spec("hog", {"size": -1, "cell_size": "8", "colour": 1}))
    assert [name for name, line in zip(("size", "cell_size", "colour"), problems, strict=True) if name in line] == [
        "size",
        "cell_size",
        "colour",
    ]


@pytest.mark.slow
def test_import_needs_neither_torch_nor_scikit_image():
    code = "import sys, fusionkit_backbones.hog; print(sorted({'torch', 'skimage', 'timm'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
