"""Frames without a view are given what was asked for, whatever is there of their clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.config.grid_config import IMPUTE
from fusionkit.engine.smooth import _BETWEEN, impute

PRIOR = np.array([0.5, 0.3, 0.2])


def by_hand(how: str, probs: np.ndarray, have: list[int], number: int) -> np.ndarray:
    if number in have:
        return probs[have.index(number)]
    if how == "prior" or not have:
        return PRIOR
    before = [n for n in have if n < number]
    after = [n for n in have if n > number]
    if not before or not after:
        return probs[0] if not before else probs[-1]
    left, right = before[-1], after[0]
    a, b = probs[have.index(left)], probs[have.index(right)]
    if how == "nearest":
        return a if number - left <= right - number else b
    return a + (b - a) * (number - left) / (right - left)


@pytest.mark.parametrize("how", IMPUTE)
@given(data=st.data())
def test_each_way_equals_a_frame_by_frame_computation(how: str, data: Any) -> None:
    have = sorted(data.draw(st.sets(st.integers(0, 40), max_size=8)))
    want = data.draw(st.lists(st.integers(-3, 45), max_size=12))
    probs = np.random.default_rng(len(have)).dirichlet([1, 1, 1], len(have))
    found = impute(how, probs, np.array(have, np.int64), np.array(want, np.int64), PRIOR)
    expected = np.array([by_hand(how, probs, have, number) for number in want]).reshape(-1, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found.sum(1), 1)


def test_frames_that_have_a_result_keep_its_bits() -> None:
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], 5)
    have = np.array([2, 3, 7, 11, 12])
    for how in IMPUTE:
        np.testing.assert_array_equal(impute(how, probs, have, have[::-1], PRIOR), probs[::-1])


def test_a_config_names_just_what_there_is() -> None:
    assert {*_BETWEEN, "prior"} == set(IMPUTE)
