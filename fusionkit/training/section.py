"""One section of a training config: a frozen dataclass whose fields are the options, checked with their ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from fusionkit.options import check_options, defaults_filled


@dataclass(frozen=True)
class Section:
    """Base of the sections. Numbers must be finite and not negative, unless they are named below.

    Attributes:
        above_zero: options that must be above 0 where they are given.
        shares: options that must lie between 0 and 1, both excluded.
    """

    provided: ClassVar[tuple[str, ...]] = ()
    above_zero: ClassVar[tuple[str, ...]] = ()
    shares: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def problems(cls, given: Any) -> list[str]:
        """Everything that is wrong with given values."""
        if not isinstance(given, Mapping):
            return [f"{given!r} is not a mapping of options"]
        found = check_options(cls, given)
        for name, value in given.items():
            if type(value) in (int, float):
                found += cls._range_problems(name, value)
        return found or cls(**defaults_filled(cls, given)).clashes()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The section with its defaults filled in; the values must have been checked."""
        return cls(**defaults_filled(cls, given))

    def clashes(self) -> list[str]:
        """The options that mean nothing together."""
        return []

    def describe(self) -> dict[str, Any]:
        """Every value, by name."""
        return asdict(self)

    @classmethod
    def _range_problems(cls, name: str, value: float) -> list[str]:
        if not math.isfinite(value):
            return [f"option {name} = {value!r} must be finite"]
        if name in cls.shares and not 0 < value < 1:
            return [f"option {name} = {value!r} must lie between 0 and 1"]
        if name in cls.above_zero and value <= 0:
            return [f"option {name} = {value!r} must be above 0"]
        if value < 0:
            return [f"option {name} = {value!r} must not be negative"]
        return []
