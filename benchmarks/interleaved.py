"""Contestants that take turns in one run: each works in a process of its own, and is timed while the others wait."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

Work = Callable[[], Any]


@dataclass(frozen=True)
class Cost:
    """Seconds of the processor and on the clock."""

    cpu: float
    wall: float


class Contestant:
    """A process that makes itself ready for a job and then does it as often as it is asked to.

    Args:
        name: for people.
        command: starts a program that calls :func:`serve`.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [*command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **ONE_THREAD},
        )

    def do(self, job: dict[str, Any]) -> Cost:
        """Do a job once more.

        Raises:
            RuntimeError: if it failed, with the error's own words.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            print(json.dumps(job), file=self._process.stdin, flush=True)
            answer = json.loads(self._process.stdout.readline() or '{"error": "its process ended"}')
        except BrokenPipeError:
            answer = {"error": "its process ended"}
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return Cost(**answer)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def contestants(file: str, names: Sequence[str]) -> Iterator[list[Contestant]]:
    """Start ``file --serve NAME`` for each name."""
    with started({name: [sys.executable, file, "--serve", name] for name in names}) as found:
        yield found


@contextmanager
def started(commands: dict[str, Sequence[str]]) -> Iterator[list[Contestant]]:
    """Start each by its own command, and end them all."""
    found = [Contestant(name, command) for name, command in commands.items()]
    try:
        yield found
    finally:
        for each in found:
            each.close()


def serve(ready: Callable[..., Work]) -> None:
    """Be a contestant: ``ready`` makes the work of a job, which is done once untimed and then timed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    sys.stdout = sys.stderr
    known: dict[str, Work] = {}
    for line in sys.stdin:
        try:
            if line not in known:
                known.clear()
                known[line] = ready(**json.loads(line))
                known[line]()
            cost = timed(known[line])
            answer: dict[str, Any] = {"cpu": cost.cpu, "wall": cost.wall}
        except Exception as error:  # noqa: BLE001  (told to the other side)
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def timed(work: Work) -> Cost:
    """What some work costs, children that it waits for included."""
    cpu, wall = _cpu(), time.perf_counter()
    work()
    return Cost(_cpu() - cpu, time.perf_counter() - wall)


def _cpu() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def in_turn(works: Mapping[str, Callable[[], Cost]], rounds: int, seconds: float = float("inf")) -> dict[str, Cost]:
    """Medians over rounds, in each of which everything is done once and somebody else begins.

    Args:
        works: do it once and say what it cost.
        rounds: at most.
        seconds: no round begins after so many; one is always done.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    names, began = list(works), time.perf_counter()
    for turn in range(rounds):
        if turn and time.perf_counter() - began > seconds:
            break
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            costs[name].append(works[name]())
    return {name: Cost(median(c.cpu for c in all_), median(c.wall for c in all_)) for name, all_ in costs.items()}


def machine() -> str:
    """The processor and how many, Python, the date: what a table is of."""
    model = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    name = f"{len(model)} x {model[0]}" if model else "unknown processor"
    return f"{time.strftime('%Y-%m-%d')}, {name}, Python {sys.version.split()[0]}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
