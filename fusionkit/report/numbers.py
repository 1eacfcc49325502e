"""Number formats: scores and differences without leading zero, p values, intervals, counts."""

from __future__ import annotations

import math

from fusionkit.stats.crossed import Estimate

_UNITS = ("", "k", "M", "G", "T", "P")


def share(value: float) -> str:
    """Format a score in 0..1 or the size of a difference: ``.612``; ``-`` for NaN."""
    return _three_decimals(value, "")


def signed(value: float) -> str:
    """Format a difference with its sign: ``+.071``; ``-`` for NaN."""
    return _three_decimals(value, "+")


def share_with_interval(estimate: Estimate) -> str:
    """Format an estimate: ``.612 [.560, .664]``."""
    return f"{share(estimate.value)} [{share(estimate.low)}, {share(estimate.high)}]"


def signed_with_interval(estimate: Estimate) -> str:
    """Format a difference: ``+.071 [+.026, +.116]``."""
    return f"{signed(estimate.value)} [{signed(estimate.low)}, {signed(estimate.high)}]"


def p_value(p: float) -> str:
    """Format p for a table: ``.043`` or ``<.001``; ``-`` for NaN."""
    return "<.001" if p < 0.001 else share(p)


def p_in_words(p: float) -> str:
    """Format p for a sentence: ``p = .043`` or ``p < .001``."""
    return "p < .001" if p < 0.001 else f"p = {share(p)}"


def percent(value: float) -> str:
    """Format a share: ``98.1 %``."""
    return f"{100 * value:.1f} %"


def amount(value: float) -> str:
    """Format a count >= 0 with three digits: ``7.21 k``, ``86 M``, ``1.2 G``; ``-`` for NaN."""
    if math.isnan(value):
        return "-"
    for unit in _UNITS[:-1]:
        if float(f"{value:.3g}") < 1000:
            return f"{value:.3g} {unit}".rstrip()
        value /= 1000
    return f"{value:.3g} {_UNITS[-1]}"


def _three_decimals(value: float, sign: str) -> str:
    if math.isnan(value):
        return "-"
    rounded = round(value, 3) + 0.0  # no "-.000"
    return f"{rounded:{sign}.3f}".replace("0.", ".", 1)


def capital(text: str) -> str:
    """Return a text with a capital at its start."""
    return text[:1].upper() + text[1:]
