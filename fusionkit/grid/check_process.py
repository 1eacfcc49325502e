"""Run conformance checks in a process of their own: whatever a component does there, the caller goes on.

A check that takes too long or ends the process is reported by name. Memory is limited, so that an allocation that is
too large raises an error in the check that asks for it.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fusionkit.errors import watched_interrupts
from fusionkit.grid.executors import FORKS, ONE_THREAD, can_spawn, environment
from fusionkit.grid.memory import set_ceiling, share
from fusionkit.grid.output import stdout_to_stderr
from fusionkit.grid.scoring import forking, set_up_fork
from fusionkit.grid.tasks import Code, single_thread
from fusionkit.registry.spec import Spec
from fusionkit.testing.case import Case, CheckResult
from fusionkit.testing.run import cases, without_stale

_STARTING = 60.0  # s in which a process begins with the first check; a spawned one imports torch
_SMALL = 2.0  # GiB for checks of fusions and smoothers, whose inputs are small
_GPU = Path("/dev/nvidiactl")
_TICK = 1.0  # s between checks whether the process has ended
_METHOD = "fork" if FORKS else "spawn"
_DIED, _DONE = None, ("", None)
_STDOUT, _STDERR = 1, 2


class ProcessEnded(Exception):  # noqa: N818  (a fact of the component, no error of fusionkit)
    """The process of the checks ended, or was ended.

    Args:
        check: name of the check that was running; empty if none was.
        cause: what ended it.
        seconds: since the check began.
    """

    def __init__(self, check: str, cause: str, seconds: float) -> None:
        super().__init__(cause)
        self.check = check
        self.cause = cause
        self.seconds = seconds


@dataclass(frozen=True)
class CheckProcess:
    """How to run checks of a component.

    Attributes:
        cases: yields the checks of a kind and a SPEC, in the process; a function of a module.
        code: imported first.
        patience: seconds for one check.
        memory: GiB; None for no limit. Checks that run last have none: a GPU may need more than memory on the CPU.
        silent: discard what the component prints; otherwise all of it goes to standard error.
    """

    cases: Callable[[str, Spec], Iterable[Case]]
    code: Code
    patience: float
    memory: float | None
    silent: bool

    @staticmethod
    def is_possible() -> bool:
        """Return whether a process can be started from here."""
        return _METHOD != "spawn" or can_spawn()

    def run(self, kind: str, spec: Spec, started: Callable[[str], object] | None = None) -> Iterator[CheckResult]:
        """Run the checks, and yield each result at once.

        Args:
            kind: of the component, singular.
            spec: its name and options.
            started: called with the name of each check before it runs.

        Raises:
            ProcessEnded: if the process ends, or is ended since a check takes too long.
        """
        context: Any = multiprocessing.get_context(_METHOD)
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_run_checks, args=(self, kind, spec, sender, os.getpid()), name="fusionkit-check"
        )
        with ExitStack() as stack:
            stack.callback(single_thread())  # threads of libraries do not outlast a fork
            with forking(), environment(ONE_THREAD):
                process.start()
            sender.close()
            try:
                yield from self._received(receiver, process, started)
            finally:
                process.kill()
                process.join()
                receiver.close()

    def _received(
        self, receiver: Connection, process: BaseProcess, started: Callable[[str], object] | None
    ) -> Iterator[CheckResult]:
        current, patience, began = "", _STARTING, time.monotonic()
        while time.monotonic() < began + patience:
            if not receiver.poll(_TICK) and process.exitcode is None:
                continue
            try:
                message = receiver.recv() if receiver.poll() else _DIED
            except (EOFError, OSError):
                message = _DIED
            if message == _DIED:
                process.join(_TICK)
                cause = f"its process ended with {_how(process.exitcode)}"
                raise ProcessEnded(current, cause, time.monotonic() - began)
            if message == _DONE:
                return
            current, result = message
            if result is not None:
                yield result
            elif started:
                started(current)
            patience, began = self.patience, time.monotonic()
        raise ProcessEnded(current, f"took longer than {patience:g} s", patience)


def _how(exitcode: int | None) -> str:
    return f"signal {-exitcode}" if exitcode and exitcode < 0 else f"exit code {exitcode}"


def check_apart(
    kind: str,
    spec: str,
    code: Code,
    patience: float,
    started: Callable[[str], object] | None = None,
    finished: Callable[[CheckResult], object] | None = None,
) -> list[CheckResult]:
    """Run all checks of a component in a process of their own, and return their results.

    A check that takes too long or ends the process has failed; the later ones are skipped. Where no process can be
    started, the checks run in this one, without limits.

    Args:
        kind: of the component, singular.
        spec: its name and options.
        code: plugin files and modules that register it.
        patience: seconds for one check.
        started: called with the name of each check before it runs.
        finished: called with each result.
    """
    selected = list(cases(kind, spec))
    process = CheckProcess(cases, code, patience, _memory(kind), silent=False)
    results: list[CheckResult] = []

    def add(result: CheckResult) -> None:
        results.append(result)
        if finished:
            finished(result)

    try:
        for result in process.run(kind, Spec.of(spec), started) if process.is_possible() else _here(selected, started):
            add(result)
    except ProcessEnded as end:
        failed, *others = selected[len(results) :]
        text = failed.subject.text
        add(CheckResult(kind, text, failed.check.name, "failed", end.cause, end.seconds))
        for case in others:
            reason = f"{failed.check.name} {end.cause}"
            add(CheckResult(kind, case.subject.text, case.check.name, "skipped", reason, 0.0))
    return without_stale(selected, results)


def _here(selected: Sequence[Case], started: Callable[[str], object] | None) -> Iterator[CheckResult]:
    for case in selected:
        if started:
            started(case.check.name)
        yield case.result()


def _memory(kind: str) -> float | None:
    """Return the GiB that checks of a kind may use; the driver of a GPU takes address space beyond what it uses."""
    if kind in ("fusion", "smoother"):
        return min(_SMALL, share(1))
    return None if _GPU.exists() else share(1)


# -- in the process ----------------------------------------------------------------------------------------------------


def _run_checks(how: CheckProcess, kind: str, spec: Spec, sender: Connection, parent: int) -> None:
    """Run checks and send the name of each, then its result. Never returns: nothing of the parent's end runs here."""
    try:
        if _METHOD == "fork":
            set_up_fork(parent, how.memory)
        _redirect(how.silent)
        single_thread()
        how.code.load()
        with watched_interrupts():  # the parent gets those of the user; any exception here is of the component
            for case in how.cases(kind, spec):
                if case.check.last:
                    set_ceiling(None)
                sender.send((case.check.name, None))
                sender.send((case.check.name, case.result()))
        sender.send(_DONE)
    finally:
        os._exit(0)


def _redirect(silent: bool) -> None:
    """Send what is printed to standard error, or discard it together with warnings."""
    faulthandler.disable()
    if not silent:
        stdout_to_stderr()
        return
    stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (open until the process ends)
    os.dup2(stream.fileno(), _STDOUT)
    os.dup2(stream.fileno(), _STDERR)
    sys.stdout = sys.stderr = stream
    warnings.simplefilter("ignore")
