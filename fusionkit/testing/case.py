"""One check of one component: called, it raises; asked for its result, it tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fusionkit.errors import FusionKitError, cause_of
from fusionkit.registry.options import options_of
from fusionkit.registry.spec import Spec


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


def as_array(value: Any) -> np.ndarray:
    """An array of a tensor or whatever else becomes one."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def require_same(found: Any, wanted: Any, what: str) -> None:
    """Same shape, same bits; NaN is NaN.

    Raises:
        CheckFailed: with ``what`` and how far they are apart.
    """
    a, b = as_array(found), as_array(wanted)
    require(a.shape == b.shape, f"{what}: shape {a.shape} against {b.shape}")
    equal = np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")
    require(equal, f"{what}{_apart(a, b)}")


def require_close(found: Any, wanted: Any, what: str, *, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Same shape, same values up to rounding; NaN is NaN.

    Raises:
        CheckFailed: with ``what`` and how far they are apart.
    """
    a, b = as_array(found), as_array(wanted)
    require(a.shape == b.shape, f"{what}: shape {a.shape} against {b.shape}")
    require(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True), f"{what}{_apart(a, b)}")


def is_close(found: Any, wanted: Any) -> bool:
    """Whether :func:`require_close` would go on."""
    try:
        require_close(found, wanted, "")
    except CheckFailed:
        return False
    return True


def require_finite(value: Any, what: str) -> None:
    """No NaN and no infinity.

    Raises:
        CheckFailed: with ``what`` and how many there are.
    """
    array = as_array(value)
    bad = int((~np.isfinite(array)).sum())
    require(bad == 0, f"{what}: {bad} of {array.size} values are not finite")


def _apart(a: np.ndarray, b: np.ndarray) -> str:
    if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu":
        return ""
    gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return f" (by up to {np.nanmax(gap):.3g})" if gap.size and np.isfinite(gap).any() else ""


Outcome = Literal["passed", "failed", "skipped", "expected failure"]


@dataclass(frozen=True)
class CheckResult:
    """What came of a check.

    Attributes:
        component: the SPEC of the component with its options.
        message: what was wrong, or why it was skipped or is expected to fail; empty where it passed.
        seconds: how long it took.
    """

    kind: str
    component: str
    check: str
    outcome: Outcome
    message: str
    seconds: float


@dataclass(frozen=True, eq=False)
class Case:
    """A check and whom it is made of.

    Attributes:
        gates: checks that must pass before this one makes sense.
    """

    subject: Subject
    check: Check
    gates: tuple[Check, ...] = ()

    @property
    def id(self) -> str:
        """Readable, and the same in every process: name, number of the option set, check."""
        example = f"-{self.subject.number}" if self.check.per_example else ""
        return f"{self.subject.name}{example}-{self.check.name}"

    def __call__(self) -> None:
        """Make the check.

        Raises:
            Skipped: with the reason, if it does not apply or cannot be made.
            CheckFailed: if the component breaks its contract; whatever the component raises comes through as it is.
        """
        if self.check.per_example:
            self.subject.given()
        for gate in self.gates:
            if _closed(self.subject, gate):
                raise Skipped(f"{gate.name} fails")
        if self.check.gate and (error := _closed(self.subject, self.check)):
            raise CheckFailed(error)
        if not self.check.gate:
            self.check.run(self.subject)

    def result(self) -> CheckResult:
        """Make the check and say what came of it."""
        start = time.perf_counter()
        outcome, message = self._tried()
        seconds = time.perf_counter() - start
        return CheckResult(self.subject.kind, self.subject.text, self.check.name, outcome, message, seconds)

    def _tried(self) -> tuple[Outcome, str]:
        try:
            self()
        except Skipped as reason:
            return "skipped", str(reason)
        except Exception as error:  # noqa: BLE001  (whatever a plugin raises is what is wrong with it)
            if self.check.name in self.subject.expected:
                return "expected failure", self.subject.expected[self.check.name]
            return "failed", _said(error)
        return "passed", ""


def _closed(subject: Subject, gate: Check) -> str | None:
    if gate.name not in subject.outcomes:
        try:
            gate.run(subject)
            subject.outcomes[gate.name] = None
        except Exception as error:  # noqa: BLE001  (as above)
            subject.outcomes[gate.name] = _said(error)
    return subject.outcomes[gate.name]


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, (CheckFailed, FusionKitError)) and str(error) else cause_of(error)
