"""How numbers are written for people: scores and differences without their leading zero, p values, intervals."""

from __future__ import annotations

import math

from fusionkit.stats.intervals import Estimate

_SIZES = ("", "k", "M", "G", "T")


def share(value: float) -> str:
    """A score in 0..1, or the size of a difference: ``.612``; ``-`` where it is NaN."""
    return _three_places(value, "")


def signed(value: float) -> str:
    """A difference with its sign: ``+.071``; ``-`` where it is NaN."""
    return _three_places(value, "+")


def share_with_interval(estimate: Estimate) -> str:
    """``.612 [.560, .664]``."""
    return f"{share(estimate.value)} [{share(estimate.low)}, {share(estimate.high)}]"


def signed_with_interval(estimate: Estimate) -> str:
    """``+.071 [+.026, +.116]``."""
    return f"{signed(estimate.value)} [{signed(estimate.low)}, {signed(estimate.high)}]"


def p_value(p: float) -> str:
    """In a table: ``.043`` or ``<.001``; ``-`` where it is NaN."""
    return "<.001" if p < 0.001 else share(p)


def p_in_words(p: float) -> str:
    """In a sentence: ``p = .043`` or ``p < .001``."""
    return "p < .001" if p < 0.001 else f"p = {share(p)}"


def amount(value: float) -> str:
    """A count, 0 or more, in three digits: ``7.21 k``, ``86 M``, ``1.2 G``; ``-`` where it is NaN."""
    if math.isnan(value):
        return "-"
    for size in _SIZES[:-1]:
        if float(f"{value:.3g}") < 1000:
            return f"{value:.3g} {size}".rstrip()
        value /= 1000
    return f"{value:.3g} {_SIZES[-1]}"


def _three_places(value: float, sign: str) -> str:
    if math.isnan(value):
        return "-"
    rounded = round(value, 3) + 0.0  # no "-.000"
    return f"{rounded:{sign}.3f}".replace("0.", ".", 1)
