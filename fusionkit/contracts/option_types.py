"""Types for the options of a component. The annotation states type and range; both are checked.

    def __init__(self, width: Count = 128, dropout: Probability = 0.0, mode: Literal["self", "local"] = "self")

`fusionkit bench`, `fusionkit check` and `registry.build` check all options before a component is built, and report all
problems at once. A constraint that no annotation states (two options together) belongs in ``__init__``, which raises
:class:`fusionkit.errors.ConfigError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """The range of a number. A bound that is None does not apply.

    Attributes:
        above: the number is greater than this.
        least: the number is this or greater.
        below: the number is less than this.
        most: the number is this or less.
    """

    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def __str__(self) -> str:
        """Return the range in words: ``above 0 and at most 1``."""
        bounds = [("above", self.above), ("at least", self.least), ("below", self.below), ("at most", self.most)]
        return " and ".join(f"{word} {bound:.15g}" for word, bound in bounds if bound is not None)

    def of(self, name: str) -> str:
        """Return the range around a name: ``0 < float <= 1``, ``int >= 1``."""
        lower = [(sign, bound) for sign, bound in (("<", self.above), ("<=", self.least)) if bound is not None]
        upper = [(sign, bound) for sign, bound in (("<", self.below), ("<=", self.most)) if bound is not None]
        if lower and not upper:
            return name + "".join(f" {sign.replace('<', '>')} {bound:.15g}" for sign, bound in lower)
        left = "".join(f"{bound:.15g} {sign} " for sign, bound in lower)
        return left + name + "".join(f" {sign} {bound:.15g}" for sign, bound in upper)


Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Workers = Annotated[int, Range(least=0, most=1024)]  # processes; starting more would take a machine down
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(least=0)]
Probability = Annotated[float, Range(least=0, most=1)]
