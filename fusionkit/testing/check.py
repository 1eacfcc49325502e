"""What a check is: a name, a sentence, and a function that raises where a component breaks its contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusionkit.testing.subject import Subject


class CheckFailed(AssertionError):  # noqa: N818  (as in unittest: a failure is no error)
    """A component breaks its contract; the message says how."""


class Skipped(Exception):  # noqa: N818  (no error)
    """A check does not apply to a component, or cannot be made; the message says why."""


@dataclass(frozen=True, eq=False)
class Check:
    """One property of a component.

    Attributes:
        name: as in results, in ``expected_failures`` and in the ids of tests.
        run: raises :class:`Skipped`, or anything else where the property does not hold.
        per_example: it builds the component; else it looks at the class, once.
        gate: where it fails, all later ones of the same example would fail for the same reason, and are skipped.
    """

    name: str
    run: Callable[[Subject], None]
    per_example: bool = True
    gate: bool = False

    @property
    def summary(self) -> str:
        """What holds where it passes, in one sentence."""
        return (self.run.__doc__ or "").strip()


class Suite:
    """Checks in the order in which they are made. Functions join by :meth:`check`, and keep their names."""

    def __init__(self, *, per_example: bool = True) -> None:
        self._per_example = per_example
        self._checks: list[Check] = []

    def check(self, run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        """Add a check, as a decorator."""
        self._checks.append(Check(run.__name__, run, self._per_example))
        return run

    def gate(self, run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        """Add a check without which the later ones make no sense."""
        self._checks.append(Check(run.__name__, run, self._per_example, gate=True))
        return run

    def __iter__(self) -> Iterator[Check]:
        return iter(self._checks)


def require(condition: object, message: str) -> None:
    """Go on where the condition holds.

    Raises:
        CheckFailed: with the message, where it does not.
    """
    if not condition:
        raise CheckFailed(message)
