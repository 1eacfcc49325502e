"""Checks of option values that several plain fusions share."""

from __future__ import annotations

from typing import Any

from fusionkit.errors import ConfigError


def require_count(option: str, value: Any) -> None:
    """Raise a ConfigError unless ``value`` is a whole number from 1 up."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{option}={value!r} is not a whole number from 1 up")
