"""Checks of components of other packages, plugin files and modules before their first bench.

The fast checks of the conformance kit run in a process of their own: whatever a component does there, the run goes on,
and its results have the same bits. The outcome is kept in the cache by the component's identity.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fusionkit.grid.check_process import CheckProcess, ProcessEnded
from fusionkit.grid.memory import share
from fusionkit.grid.plan import Plan, RowPlan
from fusionkit.grid.tasks import Code
from fusionkit.registry import REGISTRIES, ComponentRegistry, Origin
from fusionkit.registry.options import defaults_filled
from fusionkit.registry.source import component_files
from fusionkit.registry.spec import Spec
from fusionkit.storage.check_outcomes import CheckOutcome, read_outcome, write_outcome
from fusionkit.storage.identity import digest
from fusionkit.storage.record import Record, distribution_of, identity_of
from fusionkit.testing.case import Case, Outcome
from fusionkit.testing.run import first_cases

_OURS = "fusionkit"  # the distribution
_PATIENCE = 10.0  # s for one check
_SECONDS = 2.0  # s of computing for the checks of a component, after its first one, which may load libraries
_WAITING = 10.0  # s, the same by the clock
_FRAMES = 50_000  # a larger data set is not built again

Plain = dict[str, Any]


def failed_checks(plan: Plan, cache: Path) -> dict[str, list[Plain]]:
    """Check the components of a plan that fusionkit does not provide, and return what fails.

    A component whose outcome is in the cache is not checked again.

    Args:
        plan: of a grid, with imported components.
        cache: the cache folder.

    Returns:
        By id of the row, one outcome for each of its components that fails a check, with these fields of
        :class:`CheckOutcome`: ``kind``, ``component``, ``provider``, ``ran``, ``failed`` and ``details``.
    """
    code = Code(plan.grid.plugins, plan.grid.modules)
    subjects = {component: list(_subjects(*component, record)) for component, record in plan.components.items()}
    outcomes: dict[_Subject, CheckOutcome | None] = {}
    for subject in dict.fromkeys(each for found in subjects.values() for each in found):
        outcomes[subject] = _outcome(subject, code, cache)
    failed = {subject: _plain(outcome) for subject, outcome in outcomes.items() if outcome and outcome.failed}

    def of_row(row: RowPlan) -> list[Plain]:
        own = dict.fromkeys(subject for component in row.components for subject in subjects[component])
        return [failed[subject] for subject in own if subject in failed]

    return {row.id: of_row(row) for row in plan.rows}


def _plain(outcome: CheckOutcome) -> Plain:
    return {name: getattr(outcome, name) for name in ("kind", "component", "provider", "ran", "failed", "details")}


@dataclass(frozen=True)
class _Subject:
    """A component to check.

    Attributes:
        kind: of the component, singular.
        spec: its name and options, as in the plan.
        identity: hash of what decides its results.
        frames: number of frames of the data that it opens.
    """

    kind: str
    spec: Spec
    identity: str
    frames: int


def _subjects(kind: str, spec: Spec, record: Record) -> Iterator[_Subject]:
    """Yield a component and those that its options name, except those of fusionkit."""
    return _with_nested(REGISTRIES[kind], spec, identity_of(record), record)


def _with_nested(registry: ComponentRegistry, spec: Spec, identity: Record, outer: Record) -> Iterator[_Subject]:
    if distribution_of(registry, spec.name).rpartition(" ")[0] != _OURS:
        # The options of a data set say where its data are, and its fingerprint what they are.
        data = [ascii(str(spec)), outer.get("fingerprint", "")] if registry.kind == "dataset" else []
        yield _Subject(registry.kind, spec, digest([identity, *data]), outer.get("of", 0))
    cls = registry.get(spec.name)
    for option, kind in cls.nested.items():
        nested = Spec.of(defaults_filled(cls, spec.options)[option])
        yield from _with_nested(REGISTRIES[f"{kind}s"], nested, identity["nested"][option], outer)


def _outcome(subject: _Subject, code: Code, cache: Path) -> CheckOutcome | None:
    """Return the stored outcome of a component, or check it now; None if its checks cannot run."""
    registry, name = REGISTRIES[f"{subject.kind}s"], subject.spec.name
    origin = registry.origins()[name][0]
    cls: type = registry.get(name)
    stored = read_outcome(cache, subject.kind, str(subject.spec), origin.target, subject.identity)
    if stored is not None:
        return stored
    checked = _checked(subject.kind, _with_a_value(cls, subject.spec), code, built=subject.frames <= _FRAMES)
    if checked is None:
        return None
    outcome = CheckOutcome(
        kind=subject.kind,
        component=str(subject.spec),
        name=name,
        target=origin.target,
        provider=origin.provider,
        identity=subject.identity,
        ran=checked.ran,
        failed=checked.failed,
        details=_details(subject, origin, cls),
        sources={str(source.file): source.hash for source in component_files(cls)},
    )
    write_outcome(cache, outcome)
    return outcome


def _details(subject: _Subject, origin: Origin, cls: type) -> str:
    """Return the command that shows why checks of a component fail; for a class of a script, a Python call."""
    component = f"{subject.kind}/{subject.spec}"
    if origin.distribution:
        return shlex.join(["fusionkit", "check", component])
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file and cls.__module__ != "__main__":
        return shlex.join(["fusionkit", "check", "--plugin", file, component])
    return f"fusionkit.testing.check_{subject.kind}({str(subject.spec)!r})"


def _with_a_value(cls: type, spec: Spec) -> Spec:
    """Replace ``auto`` by the first value that is tried: the kernel passes a chosen one."""
    candidates: Mapping[str, Sequence[Any]] = getattr(cls, "auto", {})
    filled = defaults_filled(cls, spec.options)
    chosen = {option: values[0] for option, values in candidates.items() if values and filled.get(option) == "auto"}
    return Spec(spec.name, {**spec.options, **chosen})


# -- the process of the checks, in its parent --------------------------------------------------------------------------


@dataclass
class _Checked:
    """Checks of a component that have run, and those that failed."""

    names: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)

    @property
    def ran(self) -> int:
        return len(self.names)

    def add(self, check: str, outcome: Outcome) -> None:
        if outcome != "skipped":
            self.names.add(check)
        if outcome == "failed" and check not in self.failed:
            self.failed.append(check)


def _checked(kind: str, spec: Spec, code: Code, *, built: bool) -> _Checked | None:
    """Run the checks of a component in a process of their own; None if it ends before the first check."""
    cases = partial(_affordable_cases, built=built)
    process = CheckProcess(cases, code, _PATIENCE, share(1), silent=True)
    if not process.is_possible():
        return None
    checked = _Checked()
    try:
        for result in process.run(kind, spec):
            checked.add(result.check, result.outcome)
    except ProcessEnded as end:
        if not end.check:
            return None
        checked.names.add(end.check)
        checked.failed.append(f"{end.check} ({end.cause})")  # the later ones do not run
    return checked


# -- in the process of the checks --------------------------------------------------------------------------------------


def _affordable_cases(kind: str, spec: Spec, *, built: bool) -> Iterator[Case]:
    return _affordable(first_cases(kind, spec, built=built))


def _affordable(cases: Iterable[Case]) -> Iterator[Case]:
    """Yield cases until their time is used up. The time of the first gate does not count: it may load libraries."""
    began = time.process_time(), time.monotonic()
    passed_gate = False
    for case in cases:
        if time.process_time() - began[0] > _SECONDS or time.monotonic() - began[1] > _WAITING:
            return
        yield case
        if case.check.gate and not passed_gate:
            passed_gate = True
            began = time.process_time(), time.monotonic()
