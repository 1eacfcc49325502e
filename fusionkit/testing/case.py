"""One check of one component: called, it raises; asked for its result, it tells."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from fusionkit.errors import FusionKitError, cause_of
from fusionkit.testing.check import Check, CheckFailed, Skipped
from fusionkit.testing.subject import Subject

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
