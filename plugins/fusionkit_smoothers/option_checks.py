"""Checks of option values that several smoothers share, in one line each."""

from __future__ import annotations

from math import inf, isfinite
from typing import Any

from fusionkit.errors import ConfigError, PluginError


def require_width(smoother: str, width: Any) -> None:
    """Raise a ConfigError unless ``width`` is an odd number of frames, or ``'auto'``."""
    odd = isinstance(width, int) and not isinstance(width, bool) and width > 0 and width % 2 == 1
    if width != "auto" and not odd:
        raise ConfigError(f"{smoother}: width={width!r} is not an odd number of frames from 1 up, nor 'auto'")


def require_number(option: str, value: Any, *, above: float = -inf, least: float = -inf, most: float = inf) -> None:
    """Raise a ConfigError unless ``value`` is a finite number, above or at its bounds."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    if not number or value <= above or value < least or value > most:
        bounds = [f"above {above:g}"] * (above > -inf) + [f"from {least:g}"] * (least > -inf)
        bounds += [f"up to {most:g}"] * (most < inf)
        raise ConfigError(f"{option}={value!r} is not a number {' '.join(bounds)}".rstrip())


def require_count(option: str, value: Any, least: int = 1) -> None:
    """Raise a ConfigError unless ``value`` is a whole number of at least ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{option}={value!r} is not a whole number from {least} up")


def settled(smoother: str, option: str, value: Any) -> Any:
    """The value of an option that may be ``'auto'``.

    Raises:
        PluginError: if it still is.
    """
    if value == "auto":
        raise PluginError(
            f"{smoother}: {option}='auto' has not been chosen yet", hint="build it with a number to smooth"
        )
    return value
