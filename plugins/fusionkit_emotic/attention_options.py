"""The options that the paper's four fusions share, and the checks that any of their options go through."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from fusionkit.errors import ConfigError

Attention = Literal["self", "local", "both"]


@dataclass(frozen=True)
class AttentionOptions:
    """The options of the attention block; see any of the four fusions for what they mean.

    ``fusion`` is the name of the fusion that was asked for, as errors give it.

    Raises:
        ConfigError: on the first value that cannot be used.
    """

    fusion: str
    width: int = 256
    hidden: int | None = None
    attention: Attention = "self"
    window: int = 16
    token_width: int = 1
    init_scale: float = 1.0

    def __post_init__(self) -> None:
        require_count(f"{self.fusion}: width", self.width)
        if self.hidden is not None:
            require_count(f"{self.fusion}: hidden", self.hidden)
        require_choice(f"{self.fusion}: attention", self.attention, ("self", "local", "both"))
        require_count(f"{self.fusion}: window", self.window)
        require_count(f"{self.fusion}: token_width", self.token_width)
        if not is_number(self.init_scale) or self.init_scale <= 0:
            raise ConfigError(f"{self.fusion}: init_scale={self.init_scale!r} is not a number above 0")
        if self.width % self.token_width:
            raise ConfigError(
                f"{self.fusion}: token_width={self.token_width} does not divide width={self.width}: "
                "tokens must be of equal width"
            )
        if "local" in self.kinds and self.tokens % self.window:
            raise ConfigError(
                f"{self.fusion}: window={self.window} does not divide the {self.tokens} tokens of width={self.width}, "
                f"token_width={self.token_width}: windows must be of equal length"
            )

    @property
    def tokens(self) -> int:
        """Tokens of one feature vector."""
        return self.width // self.token_width

    @property
    def hidden_width(self) -> int:
        """Width between the classifier's two layers."""
        return self.hidden or max(1, self.width // 2)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The attentions that take part."""
        return ("self", "local") if self.attention == "both" else (self.attention,)


def require_count(option: str, value: Any) -> None:
    """Raise a ConfigError unless ``value`` is a whole number from 1 up."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{option}={value!r} is not a whole number from 1 up")


def require_at_least(option: str, value: Any, least: float) -> None:
    """Raise a ConfigError unless ``value`` is a finite number not below ``least``."""
    if not is_number(value) or value < least:
        raise ConfigError(f"{option}={value!r} is not a number from {least:g} up")


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def require_choice(option: str, value: Any, choices: Collection[str]) -> None:
    """Raise a ConfigError unless ``value`` is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{option}={value!r} is not one of {', '.join(choices)}")


def require_switch(option: str, value: Any) -> None:
    """Raise a ConfigError unless ``value`` is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{option}={value!r} is neither true nor false")
