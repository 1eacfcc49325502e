"""Checks of components of other packages, plugin files and modules before their first bench.

The fast checks of the conformance kit run in a process of their own: whatever a component does there, the run goes on,
and its results have the same bits. The outcome is kept in the cache by the component's identity.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fusionkit.errors import watched_interrupts
from fusionkit.grid.executors import FORKS, ONE_THREAD, can_spawn, environment
from fusionkit.grid.memory import share
from fusionkit.grid.plan import Plan, RowPlan
from fusionkit.grid.scoring import forking, set_up_fork
from fusionkit.grid.tasks import Code, single_thread
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
_STARTING = 60.0  # s in which a process begins with the first check; a spawned one imports torch
_PATIENCE = 10.0  # s for one check
_SECONDS = 2.0  # s of computing for the checks of a component, after its first one, which may load libraries
_WAITING = 10.0  # s, the same by the clock
_FRAMES = 50_000  # a larger data set is not built again
_TICK = 1.0  # s between checks whether the process has ended
_DIED = None
_METHOD = "fork" if FORKS else "spawn"

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
    if _METHOD == "spawn" and not can_spawn():
        return None
    context: Any = multiprocessing.get_context(_METHOD)
    receiver, sender = context.Pipe(duplex=False)
    arguments = (kind, spec, built, code, sender, os.getpid())
    process = context.Process(target=_run_checks, args=arguments, name="fusionkit-check")
    with ExitStack() as stack:
        stack.callback(single_thread())  # threads of libraries do not outlast a fork
        with forking(), environment(ONE_THREAD):
            process.start()
        sender.close()
        try:
            return _received(receiver, process)
        finally:
            process.kill()
            process.join()
            receiver.close()


def _received(receiver: Connection, process: BaseProcess) -> _Checked | None:
    """Collect the outcomes that a process sends until it has ended, or is stuck in a check."""
    checked, current = _Checked(), ""
    deadline = time.monotonic() + _STARTING
    while time.monotonic() < deadline:
        if not receiver.poll(_TICK) and process.exitcode is None:
            continue
        try:
            message = receiver.recv() if receiver.poll() else _DIED
        except (EOFError, OSError):
            message = _DIED
        if message == _DIED:
            process.join(_TICK)
            return _ended(checked, current, f"its process ended with {_how(process.exitcode)}")
        current, outcome = message
        if not current:
            return checked
        if outcome:
            checked.add(current, outcome)
        deadline = time.monotonic() + _PATIENCE
    return _ended(checked, current, f"took longer than {_PATIENCE:g} s")


def _ended(checked: _Checked, check: str, cause: str) -> _Checked | None:
    """Return the outcomes with the check that ended the process as a failed one; the later ones do not run."""
    if not check:
        return None
    checked.names.add(check)
    checked.failed.append(f"{check} ({cause})")
    return checked


def _how(exitcode: int | None) -> str:
    return f"signal {-exitcode}" if exitcode and exitcode < 0 else f"exit code {exitcode}"


# -- in the process of the checks --------------------------------------------------------------------------------------


def _run_checks(kind: str, spec: Spec, built: bool, code: Code, sender: Connection, parent: int) -> None:
    """Run checks and send the name of each, then its outcome. Never returns: nothing of the parent's end runs here."""
    try:
        if _METHOD == "fork":
            set_up_fork(parent, share(1))
        _silence()
        single_thread()
        code.load()
        with watched_interrupts():  # the parent gets those of the user; any exception here is of the component
            for case in _affordable(first_cases(kind, spec, built=built)):
                sender.send((case.check.name, ""))
                sender.send((case.check.name, case.result().outcome))
        sender.send(("", ""))
    finally:
        os._exit(0)


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


def _silence() -> None:
    """Discard what a component prints, and its warnings: ``fusionkit check`` shows them."""
    faulthandler.disable()
    stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (open until the process ends)
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    sys.stdout = sys.stderr = stream
    warnings.simplefilter("ignore")
