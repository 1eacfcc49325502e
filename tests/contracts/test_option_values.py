"""Values of options that cannot be used are refused in one line that says what could be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.contracts import require_choice, require_count, require_number, require_switch
from fusionkit.errors import ConfigError

SCALARS = st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.none())
SHARE = partial(require_number, above=0, most=1)


def accepts(check: Callable[..., None], value: Any, *more: Any, **bounds: Any) -> bool:
    try:
        check("toy: option", value, *more, **bounds)
    except ConfigError:
        return False
    return True


@given(SCALARS, st.integers(-3, 3))
def test_a_count_is_a_whole_number_from_its_least_up(value: Any, least: int) -> None:
    assert accepts(require_count, value, least) == (type(value) is int and value >= least)


@given(SCALARS)
def test_a_number_is_finite_and_within_its_bounds(value: Any) -> None:
    finite = type(value) in (int, float) and abs(value) < float("inf")
    assert accepts(require_number, value) == finite
    assert accepts(require_number, value, above=0) == (finite and value > 0)
    assert accepts(require_number, value, least=0, most=1) == (finite and 0 <= value <= 1)


@given(SCALARS)
def test_a_choice_is_one_of_its_words_and_a_switch_true_or_false(value: Any) -> None:
    assert accepts(require_choice, value, ("a", "")) == (value in ("a", ""))
    assert accepts(require_switch, value) == (value is True or value is False)


@pytest.mark.parametrize(
    ("check", "value", "told"),
    [
        (require_count, 0.5, "is not a whole number from 1 up"),
        (require_number, "x", "is not a number"),
        (partial(require_number, above=0), 0, "is not a number above 0"),
        (partial(require_number, least=0), -1, "is not a number from 0 up"),
        (partial(require_number, most=1), 2, "is not a number up to 1"),
        (partial(require_number, least=0, most=1), 2, "is not a number from 0 up to 1"),
        (SHARE, 0, "is not a number above 0 up to 1"),
        (partial(require_choice, choices=["a", "b"]), ["a"], "is not one of a, b"),
        (require_switch, 1, "is neither true nor false"),
    ],
)
def test_what_would_be_right_is_said(check: Callable[..., None], value: Any, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check("toy: option", value)
    assert str(refused.value) == f"toy: option={value!r} {told}"
