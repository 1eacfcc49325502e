"""A section of a config: a frozen dataclass whose fields are options with types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from fusionkit.registry.options import check_options, defaults_filled


@dataclass(frozen=True)
class Section:
    """Base of sections. Fields are annotated as in :mod:`fusionkit.contracts.option_types`."""

    provided: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def problems(cls, given: Any) -> list[str]:
        """List everything that is wrong with given values."""
        if not isinstance(given, Mapping):
            return [f"{given!r} is not a mapping of options"]
        return check_options(cls, given) or cls.of(given).clashes()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return the section with defaults filled in. The values must be free of :meth:`problems`."""
        return cls(**defaults_filled(cls, given))

    def clashes(self) -> list[str]:
        """List options that cannot be combined."""
        return []

    def describe(self) -> dict[str, Any]:
        """Return every value by name."""
        return asdict(self)
