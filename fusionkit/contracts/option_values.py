"""Checks of option values, for the ``__init__`` of a component: one line of what was wrong and what would be right.

An option is named as its user knows it: ``require_count("gated: width", width)``.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf, isfinite
from typing import Any

from fusionkit.errors import ConfigError


def require_count(option: str, value: Any, least: int = 1) -> None:
    """Go on where ``value`` is a whole number from ``least`` up, which true and false are not.

    Raises:
        ConfigError: where it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{option}={value!r} is not a whole number from {least} up")


def require_number(option: str, value: Any, *, above: float = -inf, least: float = -inf, most: float = inf) -> None:
    """Go on where ``value`` is a finite number, above ``above``, not below ``least`` and not over ``most``.

    Raises:
        ConfigError: where it is not.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    if not number or value <= above or value < least or value > most:
        bounds = [f"above {above:g}"] * (above > -inf) + [f"from {least:g}"] * (least > -inf)
        bounds += [f"up to {most:g}"] * (most < inf) or ["up"] * (least > -inf)
        raise ConfigError(f"{option}={value!r} is not a number {' '.join(bounds)}".rstrip())


def require_choice(option: str, value: Any, choices: Collection[str]) -> None:
    """Go on where ``value`` is one of ``choices``.

    Raises:
        ConfigError: where it is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{option}={value!r} is not one of {', '.join(choices)}")


def require_switch(option: str, value: Any) -> None:
    """Go on where ``value`` is true or false.

    Raises:
        ConfigError: where it is not.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{option}={value!r} is neither true nor false")
