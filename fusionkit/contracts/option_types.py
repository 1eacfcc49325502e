"""Types for the options of a component: an annotation states the type and the range, and both are checked.

    def __init__(self, width: Count = 128, dropout: Probability = 0.0, mode: Literal["self", "local"] = "self")

Options are checked before a component is built, all of them at once: by ``fusionkit bench``, by ``fusionkit check`` and
by ``registry.build``. A constraint that no type states (two options together) is checked in ``__init__``, which raises
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
        """The range in words: ``above 0 and at most 1``."""
        bounds = [("above", self.above), ("at least", self.least), ("below", self.below), ("at most", self.most)]
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def of(self, name: str) -> str:
        """The range around a name: ``0 < float <= 1``."""
        low = [(self.above, "<"), (self.least, "<=")]
        high = [(self.below, "<"), (self.most, "<=")]
        lower = "".join(f"{bound:g} {sign} " for bound, sign in low if bound is not None)
        upper = "".join(f" {sign} {bound:g}" for bound, sign in high if bound is not None)
        if lower and not upper:
            bound, sign = lower.split()[:2]
            return f"{name} {sign.replace('<', '>')} {bound}"
        return f"{lower}{name}{upper}"


Count = Annotated[int, Range(least=1)]
Natural = Annotated[int, Range(least=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(least=0)]
Probability = Annotated[float, Range(least=0, most=1)]
