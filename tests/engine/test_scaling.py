"""Mean and scale do not depend on the blocks, and equal NumPy's over all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit.engine.features import Scaling


def cut(values: np.ndarray, size: int) -> Callable[[], Iterator[np.ndarray]]:
    return lambda: iter([values[start : start + size] for start in range(0, len(values), size)])


def sample(seed: int, *shape: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(3, 2, size=shape)
    return (values * np.linspace(0.01, 300, shape[-1])).astype(np.float16)


@settings(max_examples=examples(60))
@given(st.integers(0, 99), st.integers(1, 70), st.integers(1, 70), st.sampled_from([(), (4,)]))
def test_the_cut_into_blocks_changes_no_bit(seed: int, size: int, other: int, tokens: tuple[int, ...]) -> None:
    values = sample(seed, 60, *tokens, 6)
    values[::7] = np.nan
    one, two = (Scaling.of(cut(values, block), standardize=True) for block in (size, other))
    assert one is not None
    assert two is not None
    np.testing.assert_array_equal(one.mean, two.mean)
    np.testing.assert_array_equal(one.scale, two.scale)


@pytest.mark.parametrize("tokens", [(), (3,)])
def test_mean_and_scale_are_numpys_in_float64_over_the_rows_that_are_there(tokens: tuple[int, ...]) -> None:
    values = sample(1, 500, *tokens, 8)
    values[::9] = np.nan
    seen = values[~np.isnan(values.reshape(500, -1)[:, 0])].reshape(-1, 8).astype(np.float64)
    found = Scaling.of(cut(values, 64), standardize=True)
    assert found is not None
    np.testing.assert_array_equal(found.mean, seen.mean(0).astype(np.float32))
    np.testing.assert_array_equal(found.scale, seen.std(0).astype(np.float32))


def test_values_are_imputed_and_standardised_in_place() -> None:
    scaling = Scaling(np.array([1, 2], np.float32), np.array([2, 4], np.float32), standardize=True)
    values = np.array([[3, 10], [np.nan, np.nan], [1, 2]], np.float32)
    assert scaling.apply(values).tolist() == [True, False, True]
    assert values.tolist() == [[1, 2], [0, 0], [0, 0]]


def test_without_standardising_only_the_missing_change() -> None:
    values = np.array([[3, 10], [np.nan, np.nan], [1, 3]], np.float32)
    scaling = Scaling.of(cut(values, 2), standardize=False)
    assert scaling is not None
    scaling.apply(values)
    assert values.tolist() == [[3, 10], [2, 6.5], [1, 3]]
    assert scaling.scale.tolist() == [1, 1]


def test_a_view_that_no_row_has_gives_no_scaling() -> None:
    assert Scaling.of(cut(np.full((5, 2), np.nan, np.float16), 2), standardize=True) is None
