"""Checks of the backbone base class, and pooling of tokens."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.contracts.backbone import Backbone, pool_tokens
from fusionkit.errors import PluginError

VIEWS = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)


class Means(Backbone):
    """Mean colour, and one token a column."""

    dim = 3
    input_size = (4, 6)

    def embed(self, views: np.ndarray) -> np.ndarray:
        return views.mean((1, 2))

    def tokens(self, views: np.ndarray) -> np.ndarray:
        return views.mean(1)


class Given(Means):
    """Returns a given result."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def embed(self, views: np.ndarray) -> np.ndarray:
        return self.values  # type: ignore[no-any-return]

    tokens = embed


class Pooled(Backbone):
    """Has no tokens."""

    dim, input_size = 3, (4, 6)

    def embed(self, views: np.ndarray) -> np.ndarray:
        return views.mean((1, 2))


def test_embeddings_come_as_float32() -> None:
    got = Means()(VIEWS)
    assert got.dtype == np.float32
    np.testing.assert_allclose(
        got, [[view[..., c].mean() for c in range(3)] for view in VIEWS.astype(float)], rtol=1e-6
    )


def test_tokens_are_pooled_to_the_requested_number() -> None:
    got = Means()(VIEWS, tokens=2)
    columns = VIEWS.astype(float).mean(1)
    np.testing.assert_allclose(got[:, 0], (columns[:, 0] + columns[:, 1] + columns[:, 2]) / 3, rtol=1e-6)
    np.testing.assert_allclose(got[:, 1], (columns[:, 3] + columns[:, 4] + columns[:, 5]) / 3, rtol=1e-6)
    np.testing.assert_allclose(Means()(VIEWS, tokens=6), columns, rtol=1e-6)


@pytest.mark.parametrize("views", [VIEWS[:, :, :5], VIEWS[..., :2], VIEWS[0], VIEWS.astype(np.float32)])
def test_views_of_another_size_or_type_are_refused(views: np.ndarray) -> None:
    with pytest.raises(PluginError, match=r"backbone Means takes uint8 \(B, \(4, 6\), 3\)"):
        Means()(views)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (3,), (3, 1, 3)])
def test_embeddings_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PluginError) as refused:
        Given(np.zeros(shape))(VIEWS)
    assert str(refused.value) == f"backbone Given gave {shape}; expected (B, D) with B=3, D=3"


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (3, 4, 2)])
def test_tokens_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PluginError, match=r"expected \(B, K, D\) with B=3, D=3"):
        Given(np.zeros(shape))(VIEWS, tokens=2)


class Grid(Means):
    """A token for each place of a grid of 2 x 3, two pixels apart: red and green."""

    token_dim, token_grid = 2, (2, 3)

    def tokens(self, views: np.ndarray) -> np.ndarray:
        return views[:, ::2, ::2, :2].reshape(len(views), 6, 2)


def test_a_map_is_the_tokens_in_their_grid() -> None:
    got = Grid()(VIEWS, "map")
    assert (got.dtype, got.shape) == (np.float32, (3, 2, 3, 2))
    for row, column in np.ndindex(2, 3):
        np.testing.assert_array_equal(got[:, row, column], VIEWS[:, 2 * row, 2 * column, :2])
    np.testing.assert_array_equal(Grid().launched(VIEWS, "map")(), got)
    assert [Grid().feature_shape(tokens) for tokens in (0, 4, "map")] == [(3,), (4, 2), (2, 3, 2)]
    assert (Grid.gives_maps(), Means.gives_maps()) == (True, False)


def test_maps_where_there_are_none_or_of_another_grid_are_refused() -> None:
    with pytest.raises(PluginError, match="backbone Means gives no maps"):
        Means()(VIEWS, "map")
    other = Grid()
    other.token_grid = (3, 3)
    with pytest.raises(PluginError, match="backbone Grid gave 6 tokens; expected those of its grid, 3 x 3"):
        other(VIEWS, "map")
    other.token_dim = 3
    with pytest.raises(PluginError, match=r"gave \(3, 6, 2\); expected \(B, K, D\) with B=3, D=3"):
        other(VIEWS, 2)


def test_tokens_where_there_are_none_or_too_few_are_refused() -> None:
    with pytest.raises(PluginError, match="backbone Pooled gives no tokens"):
        Pooled()(VIEWS, tokens=1)
    with pytest.raises(PluginError, match="gives 6 tokens per view, fewer than the 7 requested"):
        Means()(VIEWS, tokens=7)


@given(st.integers(1, 60), st.data())
def test_pooling_averages_neighbouring_runs_that_differ_by_one_at_most(length: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, length))
    tokens = np.random.default_rng(length).normal(size=(2, length, 3))
    pooled = pool_tokens(tokens, count)
    # Each token stands for the run that it is in: the place of a one-hot token tells which.
    member = pool_tokens(np.eye(length)[None], count)[0] > 0
    assert member.sum(0).tolist() == [1] * length
    sizes = member.sum(1)
    assert set(sizes.tolist()) <= {length // count, -(-length // count)}
    assert member.argmax(0).tolist() == sorted(member.argmax(0).tolist())
    for run in range(count):
        start = int(sizes[:run].sum())
        wanted = sum(tokens[:, start + i] for i in range(int(sizes[run]))) / sizes[run]
        np.testing.assert_allclose(pooled[:, run], wanted, atol=1e-12)
