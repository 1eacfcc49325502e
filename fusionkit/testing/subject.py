"""What is checked: a component's class with one of its option sets."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from fusionkit.options import options_of
from fusionkit.spec import Spec
from fusionkit.testing.check import Skipped


@dataclass(frozen=True, eq=False)
class Subject:
    """A class and the options to build it with.

    Attributes:
        name: the component's name, or its class's where it is not registered.
        options: one option set; None where there is none to build it with.
        number: of the option set among those of the component.
        expected: check to the reason why it is known to fail.
        outcomes: of gates that were tried: check to what was wrong, None where nothing was.
    """

    kind: str
    name: str
    cls: type[Any]
    options: Mapping[str, Any] | None
    number: int
    expected: Mapping[str, str]
    outcomes: dict[str, str | None] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The SPEC."""
        return str(Spec(self.name, self.options or {}))

    def given(self) -> dict[str, Any]:
        """The options, to be changed at will.

        Raises:
            Skipped: if there is no option set.
        """
        if self.options is None:
            lacking = [option.name for option in options_of(self.cls).values() if option.required]
            given = ",".join(f"{name}=..." for name in lacking or ["option"])
            raise Skipped(f"no example to build it with: give one, as in {self.name}:{given}")
        return deepcopy(dict(self.options))

    def build(self, **provided: Any) -> Any:
        """An instance; ``provided`` are the arguments that the kernel passes."""
        return self.cls(**provided, **self.given())
