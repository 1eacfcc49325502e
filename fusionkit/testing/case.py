"""One check of one component: the check, its subject, its result, and comparisons that explain a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fusionkit.errors import ConfigError, FusionKitError, cause_of, component_errors, out_of_memory
from fusionkit.registry.options import check_options, options_of
from fusionkit.registry.spec import Spec

Outcome = Literal["passed", "failed", "skipped", "expected failure"]


class CheckFailed(AssertionError):  # noqa: N818  (as in unittest: a failure is no error)
    """A component breaks its contract; the message says what was expected and what was found."""


class Skipped(Exception):  # noqa: N818  (no error)
    """A check does not apply to a component, or cannot run; the message gives the reason."""


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    Attributes:
        kind: kind of the component, singular.
        component: SPEC of the component with its options.
        check: name of the check.
        outcome: ``passed``, ``failed``, ``skipped`` or ``expected failure``.
        message: the failure, or the reason of a skip or of an expected failure; empty if the check passed.
        seconds: duration.
    """

    kind: str
    component: str
    check: str
    outcome: Outcome
    message: str
    seconds: float


@dataclass(frozen=True, eq=False)
class Subject:
    """A component class with one set of options.

    Attributes:
        kind: kind of the component, singular.
        name: registered name; the class name in kebab-case if it is not registered.
        cls: the class.
        options: one option set; None if the class has no example.
        number: index of the option set.
        expected: expected failures: name of the check to the reason.
        errors: results of the gates and root checks that ran: name of the check to the error, empty if there is none.
        failed_inputs: inputs on which the component failed; another check reports it, the others do not try them again.
        found: results that several checks compare with, by name; each is computed once.
    """

    kind: str
    name: str
    cls: type[Any]
    options: Mapping[str, Any] | None
    number: int
    expected: Mapping[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    failed_inputs: set[str] = field(default_factory=set)
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The SPEC."""
        return str(Spec(self.name, self.options or {}))

    def given(self) -> dict[str, Any]:
        """Return a copy of the options.

        Raises:
            Skipped: if there is no option set, or it is a wrong example of the class, which another check reports.
        """
        if self.options is None:
            required = [option.name for option in options_of(self.cls).values() if option.required]
            given = ",".join(f"{name}=..." for name in required or ["option"])
            raise Skipped(f"no example options; give some, for example {self.name}:{given}")
        if self.options in self.cls.examples and check_options(self.cls, self.options):
            raise Skipped("examples_are_option_sets fails")
        return deepcopy(dict(self.options))

    def build(self, changed: Mapping[str, Any] | None = None, /, **provided: Any) -> Any:
        """Check the options as a registry does, and build an instance.

        Args:
            changed: options that replace those of the subject.
            provided: arguments that the kernel passes, such as ``in_dims``.

        Raises:
            ConfigError: if an option has the wrong type or is out of range.
        """
        options = {**self.given(), **(changed or {})}
        if problems := check_options(self.cls, options):
            raise ConfigError("; ".join(problems))
        return self.cls(**provided, **options)

    def build_from_text(self, **provided: Any) -> Any:
        """Write the options as a SPEC, parse it, and build an instance of the result, as worker processes do."""
        spec = Spec.parse(self.text)
        require(str(spec) == self.text, f"options: expected SPEC {self.text!r} after parsing, found {str(spec)!r}")
        return self.cls(**provided, **spec.options)


@dataclass(frozen=True, eq=False)
class Check:
    """One property of a component.

    Attributes:
        run: raises :class:`Skipped`, or any other exception if the property does not hold.
        per_example: run once for each option set; otherwise once for the class, without building it.
        gate: if it fails, all later checks of the same option set are skipped.
        root: if it fails, later failures of the same option set count as its consequences, and are skipped.
        last: run after all other checks of all option sets.
        on_request: run by ``fusionkit check`` only. All others run before the first bench of a component too: they are
            fast, do not depend on the machine, and concern results.
    """

    run: Callable[[Subject], None]
    per_example: bool = True
    gate: bool = False
    root: bool = False
    last: bool = False
    on_request: bool = False

    @property
    def name(self) -> str:
        """Name in results, in ``expected_failures`` and in ids of tests."""
        return self.run.__name__

    @property
    def summary(self) -> str:
        """The property that holds if the check passes, in one sentence."""
        return (self.run.__doc__ or "").strip()


class Suite(list[Check]):
    """Checks in running order. Its methods are decorators that add a function."""

    def __init__(self, *, per_example: bool = True) -> None:
        super().__init__()
        self._per_example = per_example

    def check(self, run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        """Add a check."""
        return self._add(run)

    def gate(self, run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        """Add a check that later checks depend on."""
        return self._add(run, gate=True)

    def root(self, run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        """Add a check whose failure explains failures of later checks."""
        return self._add(run, root=True)

    def on_request(self, run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        """Add a check that runs with ``fusionkit check`` only."""
        return self._add(run, on_request=True)

    def last(self, run: Callable[[Subject], None]) -> Callable[[Subject], None]:
        """Add a check that runs with ``fusionkit check`` only, after all others: the component may not recover."""
        return self._add(run, on_request=True, last=True)

    def _add(self, run: Callable[[Subject], None], **flags: bool) -> Callable[[Subject], None]:
        self.append(Check(run, self._per_example, **flags))
        return run


@dataclass(frozen=True, eq=False)
class Case:
    """A check and its subject.

    Attributes:
        subject: component and options.
        check: the property to check.
        before: gates and root checks before it.
    """

    subject: Subject
    check: Check
    before: tuple[Check, ...] = ()

    @property
    def id(self) -> str:
        """Readable id, the same in every process: name, index of the option set, check."""
        example = f"-{self.subject.number}" if self.check.per_example else ""
        return f"{self.subject.name}{example}-{self.check.name}"

    def __call__(self) -> None:
        """Run the check.

        Raises:
            Skipped: if the check does not apply or cannot run.
            CheckFailed: if the component breaks its contract. Exceptions of the component are not wrapped.
        """
        if self.check.per_example:
            self.subject.given()
        for gate in self.before:
            if gate.gate and _error(self.subject, gate):
                raise Skipped(f"{gate.name} fails")
        try:
            self.check.run(self.subject)
        except Skipped:
            raise
        except component_errors() as error:
            self.subject.errors[self.check.name] = _message(error)
            for root in self.before if self.check.name not in self.subject.expected else ():
                if root.root and _error(self.subject, root):
                    raise Skipped(f"{root.name} fails and may explain this failure: {_message(error)}") from error
            raise
        self.subject.errors[self.check.name] = ""

    def result(self) -> CheckResult:
        """Run the check and return its result."""
        start = time.perf_counter()
        outcome, message = self._outcome()
        seconds = time.perf_counter() - start
        return CheckResult(self.subject.kind, self.subject.text, self.check.name, outcome, message, seconds)

    def _outcome(self) -> tuple[Outcome, str]:
        try:
            self()
        except Skipped as reason:
            return "skipped", str(reason)
        except component_errors() as error:
            if self.check.name in self.subject.expected:
                return "expected failure", self.subject.expected[self.check.name]
            return "failed", _message(error)
        return "passed", ""


def _error(subject: Subject, check: Check) -> str:
    """Run a gate or a root check once for each subject, and return its error; empty if it passes or does not apply."""
    if check.name not in subject.errors:
        try:
            check.run(subject)
            subject.errors[check.name] = ""
        except Skipped:
            subject.errors[check.name] = ""
        except component_errors() as error:
            subject.errors[check.name] = _message(error)
    return subject.errors[check.name]


def _message(error: BaseException) -> str:
    purposeful = isinstance(error, (CheckFailed, FusionKitError)) and str(error)
    message = " ".join(str(error).split()) if purposeful else cause_of(error)
    return f"ran out of memory: {message}" if any(map(out_of_memory, _chain(error))) else message


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__


def skip_if_refused(build: Callable[[], object]) -> None:
    """Build a fusion.

    Raises:
        Skipped: if it refuses its views.
    """
    try:
        build()
    except ConfigError as refusal:
        raise Skipped(f"it refuses these views: {refusal}") from refusal


def require(condition: object, message: str) -> None:
    """Raise :class:`CheckFailed` with the message unless the condition holds."""
    if not condition:
        raise CheckFailed(message)


def require_same(found: Any, expected: Any, what: str) -> None:
    """Raise :class:`CheckFailed` unless both arrays have the same shape and the same bits; NaN equals NaN."""
    a, b = _arrays(found, expected, what)
    equal = np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")
    require(equal, f"{what}{_difference(a, b)}")


def require_close(found: Any, expected: Any, what: str, *, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Raise :class:`CheckFailed` unless both arrays have the same shape and close values; NaN equals NaN."""
    a, b = _arrays(found, expected, what)
    require(np.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True), f"{what}{_difference(a, b)}")


def is_close(found: Any, expected: Any) -> bool:
    """Return whether :func:`require_close` passes."""
    try:
        require_close(found, expected, "")
    except CheckFailed:
        return False
    return True


def require_finite(value: Any, what: str) -> None:
    """Raise :class:`CheckFailed` with the number of NaN and infinite values, if there are any."""
    array = as_array(value)
    bad = int((~np.isfinite(array)).sum())
    require(bad == 0, f"{what}: expected finite values; {bad} of {array.size} are NaN or infinite")


def require_state(state: Any) -> dict[str, np.ndarray]:
    """Return a copy of the result of ``state()``.

    Raises:
        CheckFailed: unless it maps names to numeric arrays of one or more dimensions, which are stored without pickle.
    """
    require(isinstance(state, Mapping) and state, f"state(): expected a dict of arrays, found {state!r:.80}")
    for name, value in state.items():
        plain = isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.ndim > 0
        require(
            isinstance(name, str) and plain,
            f"state(): expected a numeric array of at least one dimension for {name!r}, found {described(value)}",
        )
    return {name: value.copy() for name, value in state.items()}


def as_array(value: Any) -> np.ndarray:
    """Convert a tensor or an array-like value to an array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def described(value: Any) -> str:
    """Return dtype and shape of an array or tensor, or the type of another value, for messages."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {tuple(value.shape)}"
    return type(value).__name__


def _arrays(found: Any, expected: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = as_array(found), as_array(expected)
    require(a.shape == b.shape, f"{what}: shapes {a.shape} and {b.shape} differ")
    return a, b


def _difference(a: np.ndarray, b: np.ndarray) -> str:
    if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu":
        return ""
    gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return f" (largest difference {np.nanmax(gap):.3g})" if gap.size and np.isfinite(gap).any() else ""
