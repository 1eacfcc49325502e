"""Number formats."""

from __future__ import annotations

import pytest

from fusionkit.report.numbers import (
    amount,
    p_in_words,
    p_value,
    share,
    share_with_interval,
    signed,
    signed_with_interval,
)
from fusionkit.stats.crossed import Estimate

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (0.6124, ".612", "+.612"),
        (-0.071, "-.071", "-.071"),
        (1.0, "1.000", "+1.000"),
        (-1.0, "-1.000", "-1.000"),
        (0.0, ".000", "+.000"),
        (-0.0001, ".000", "+.000"),
        (0.9999, "1.000", "+1.000"),
        (NAN, "-", "-"),
    ],
)
def test_scores_and_differences_have_three_places_and_no_leading_zero(value: float, plain: str, with_sign: str) -> None:
    assert share(value) == plain
    assert signed(value) == with_sign


@pytest.mark.parametrize(
    ("p", "short", "words"),
    [
        (0.0432, ".043", "p = .043"),
        (0.001, ".001", "p = .001"),
        (0.0009, "<.001", "p < .001"),
        (1.0, "1.000", "p = 1.000"),
        (NAN, "-", "p = -"),
    ],
)
def test_p_is_never_zero(p: float, short: str, words: str) -> None:
    assert p_value(p) == short
    assert p_in_words(p) == words


def test_intervals_follow_their_value() -> None:
    estimate = Estimate(0.071, -0.026, 0.116, 0.02, 30, 5)
    assert share_with_interval(estimate) == ".071 [-.026, .116]"
    assert signed_with_interval(estimate) == "+.071 [-.026, +.116]"
    assert share_with_interval(Estimate(0.5, NAN, NAN, NAN, 1, 1)) == ".500 [-, -]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.4123, "0.412"),
        (999, "999"),
        (7_208, "7.21 k"),
        (999_999, "1 M"),
        (85.8e6, "85.8 M"),
        (4e15, "4 P"),
        (4e18, "4e+03 P"),
        (NAN, "-"),
    ],
)
def test_counts_have_three_digits(value: float, text: str) -> None:
    assert amount(value) == text
