"""Checks of option values that several smoothers share, in one line each."""

from __future__ import annotations

from typing import Any

from fusionkit.errors import ConfigError, PluginError


def require_width(smoother: str, width: Any) -> None:
    """Raise a ConfigError unless ``width`` is an odd number of frames, or ``'auto'``."""
    odd = isinstance(width, int) and not isinstance(width, bool) and width > 0 and width % 2 == 1
    if width != "auto" and not odd:
        raise ConfigError(f"{smoother}: width={width!r} is not an odd number of frames from 1 up, nor 'auto'")


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
