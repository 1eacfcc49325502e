"""Kill a run at random moments and see whether anything is lost: the finished run must equal an uninterrupted one.

    python benchmarks/chaos.py --kills 200
    python benchmarks/chaos.py --kills 3 --executor ray

A small grid is run to its end once. Then it is started again and again in fresh folders and killed by SIGKILL (now the
whole process group, now the parent alone): most at moments drawn evenly from its duration, some as soon as the first
head is there, or while a file or folder is half written. When it has been resumed to its end, ``results.csv``,
``cells.csv`` and every stored array are compared byte by byte.

Most runs are forked from a process that has imported everything, and their workers from them, since a fresh interpreter
takes longer to start than the grid to run, and write no page; a few are fresh, as they are on the command line.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GRID = (
    *("--dataset", "synthetic:train=8,val=8,test=8,clips=1,clip_length=6", "--smoother", "none,window:width=auto"),
    *("--regions", "eye", "--regions", "mouth", "--fusion", "plain-concat,concat:width=16", "--seeds", "2"),
    *("--recipe", "epochs=3", "--workers", "2", "--out", "out"),
)
COMPARED = (
    *("results.csv", "cells.csv", "heads/*/*.npy", "heads/*/head.safetensors", "cells/*/cell.json"),
    *("cells/*/counts.npz", "folds/*/*.npy"),
)
AIMED = 0.2  # share of the kills that wait for something to be on the disk
# What a run imports for more than a moment; torch imports its compiler at the first training step.
OURS = ("fusionkit.cli", "fusionkit.engine.fit", "fusionkit.report.run", "fusionkit_synthetic")
LIBRARIES = (*OURS, "mmengine", "pebble", "pydantic", "scipy.stats", "torch._dynamo")
FRESH = 0.1  # share of the starts that are fresh processes
LIMIT = 300.0  # s after which a run counts as hung


# -- starting a run ----------------------------------------------------------------------------------------------------


class Fresh:
    """A run in a process of its own, as on the command line."""

    def __init__(self, folder: Path, executor: str) -> None:
        words = [sys.executable, "-m", "fusionkit", "bench", *GRID, "--executor", executor]
        environment = {**os.environ, "FUSIONKIT_CACHE": str(folder / "cache")}
        with (folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                words, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.pid = self.process.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs; negative for a signal."""
        return self.process.poll()


class Forked:
    """A run in a process that a :class:`Server` forks."""

    def __init__(self, server: Server, folder: Path, executor: str) -> None:
        self.server = server
        self.pid: int = server.ask("start", str(folder), executor)

    def poll(self) -> int | None:
        """As for :class:`Fresh`."""
        code: int | None = self.server.ask("poll", self.pid)
        return code


class Server:
    """A process that has imported what a run needs, and forks itself for each one."""

    def __init__(self) -> None:
        environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}
        words = [sys.executable, __file__, "--serve"]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.ask("import")  # answered when all is imported

    def ask(self, *words: Any) -> Any:
        """Send a request and wait for the answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        with self.process:
            pass  # closes its standard input, which ends it, and waits


def serve() -> None:
    """Answer requests, one a line, until standard input ends."""
    ended: dict[int, int] = {}
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        what, *words = json.loads(line)
        answer: Any = None
        if what == "import":
            for name in LIBRARIES:
                importlib.import_module(name)
        if what == "start":
            answer = _fork(Path(words[0]), words[1])
        elif what == "poll":
            pid = words[0]
            if pid not in ended:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(pid)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _fork(folder: Path, executor: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["FUSIONKIT_CACHE"] = str(folder / "cache")
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = _bench(executor)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _bench(executor: str) -> int:
    """The command, in this process; workers are forked."""
    import multiprocessing

    from fusionkit.cli import main
    from fusionkit.report.page import write

    write.report_or_line = lambda *_: []  # the page takes longer than all that is compared
    forking = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda _=None: forking  # type: ignore[assignment]
    sys.argv = ["fusionkit", "bench", *GRID, "--executor", executor]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


Run = Fresh | Forked
Starter = Callable[[Path, str], Run]


@contextmanager
def forking() -> Iterator[Starter]:
    """What starts runs by forking them."""
    server = Server()
    try:
        yield lambda folder, executor: Forked(server, folder, executor)
    finally:
        server.close()


# -- killing it --------------------------------------------------------------------------------------------------------


def kill(run: Run, *, whole_group: bool) -> None:
    """Now, and wait until it is gone."""
    with suppress(ProcessLookupError):
        (os.killpg if whole_group else os.kill)(run.pid, signal.SIGKILL)
    _wait(run)


def _wait(run: Run) -> int:
    deadline = time.monotonic() + LIMIT
    while (code := run.poll()) is None:
        if time.monotonic() > deadline:
            kill(run, whole_group=True)
            raise TimeoutError(f"a run did not end within {LIMIT:g} s")
        time.sleep(0.01)
    return code


def first_head(folder: Path) -> bool:
    """Whether a head is there, or about to be."""
    return (folder / "out/heads").is_dir()


def half_written(folder: Path) -> bool:
    """Whether something is being written beside its place."""
    places = [folder / "out", *(folder / "out" / name for name in ("heads", "cells", "folds"))]
    places += [Path(entry) for entry in _entries(folder / "cache/embeddings")]
    return any(Path(entry).name.startswith(".") for place in places for entry in _entries(place))


def _entries(place: Path) -> list[str]:
    try:
        return [entry.path for entry in os.scandir(place)]
    except OSError:
        return []


def until(run: Run, there: Callable[[Path], bool], folder: Path) -> None:
    """Wait for something on the disk, or for the end of the run; look as often as can be."""
    look = 0
    while not there(folder):
        look += 1
        if look % 50 == 0 and run.poll() is not None:
            return


def stage(folder: Path) -> str:
    """What was under way, as far as the files tell."""
    out = folder / "out"
    if not (out / "grid.json").exists():
        return "start-up"
    if not (out / "folds").exists():
        return "embed"
    if (out / "results.csv").exists():
        return "tables"
    return "score" if (out / "cells").exists() else "fit"


# -- the whole ---------------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """What a series of kills showed.

    Attributes:
        kills: how many runs were killed.
        runs: how many were then resumed to their end.
        moments: what the killed ones were at.
        files: how many files were compared after each.
        wrong: what differs from the uninterrupted run; the series ends there.
        left: the folder of the run that differs.
        seconds: how long it took.
    """

    kills: int = 0
    runs: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    files: int = 0
    wrong: list[str] = field(default_factory=list)
    left: Path | None = None
    seconds: float = 0.0


class Chaos:
    """A series of kills.

    Args:
        base: a folder to work in.
        fork: what starts runs by forking; None where all are fresh.
        executors: to draw from.
        seed: of moments and choices.
    """

    def __init__(self, base: Path, fork: Starter | None, executors: Sequence[str], seed: int) -> None:
        self.base = base
        self.fork = fork
        self.executors = executors
        self.draw = random.Random(seed)
        self.report = Report()
        self.lengths: dict[tuple[str, bool], float] = {}
        self.whole: dict[str, bytes] = {}

    def run(self, kills: int) -> Report:
        """Kill at least so many times, and resume each run to its end."""
        began = time.monotonic()
        self._measure()
        while self.report.kills < kills and not self.report.wrong:
            self._round()
        self.report.seconds = time.monotonic() - began
        return self.report

    def _measure(self) -> None:
        """Uninterrupted runs: how long each way takes, and what must come out; the first is serial."""
        for executor in dict.fromkeys(("serial", *self.executors)):
            folder = self.base / f"whole-{executor}"
            folder.mkdir(parents=True)
            began = time.monotonic()
            if _wait(self._start(folder, executor, fresh=self.fork is None)) != 0:
                raise RuntimeError((folder / "log.txt").read_text(encoding="utf-8"))
            self.lengths[executor, self.fork is None] = time.monotonic() - began
            found = contents(folder / "out")
            self.whole = self.whole or found
            if found != self.whole:
                raise RuntimeError(f"{executor} differs from serial before anything is killed")
        self.report.files = len(self.whole)

    def _round(self) -> None:
        folder = self.base / f"round{self.report.runs}"
        folder.mkdir()
        executor = self.draw.choice(self.executors)
        started = []
        for _ in range(self.draw.randint(1, 4)):
            fresh = self.fork is None or self.draw.random() < FRESH
            began = time.monotonic()
            run = self._start(folder, executor, fresh=fresh)
            started.append(run)
            self._moment(run, folder, executor, fresh)
            if run.poll() is not None:  # to its end, which tells how long that takes
                self.lengths.setdefault((executor, fresh), time.monotonic() - began)
                break
            self.report.moments[stage(folder)] += 1
            kill(run, whole_group=self.draw.random() < 0.5)
            self.report.kills += 1
        run = self._start(folder, executor, fresh=self.fork is None)
        if _wait(run) == 0:
            found = contents(folder / "out")
            names = self.whole.keys() | found.keys()
            self.report.wrong = sorted(name for name in names if self.whole.get(name) != found.get(name))
        else:
            self.report.wrong = [f"the resumed run failed: {(folder / 'log.txt').read_text(encoding='utf-8')[-2000:]}"]
        for other in started:  # workers that outlived their parent
            with suppress(ProcessLookupError):
                os.killpg(other.pid, signal.SIGKILL)
        self.report.runs += 1
        if self.report.wrong:
            self.report.left = folder
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self, folder: Path, executor: str, *, fresh: bool) -> Run:
        return Fresh(folder, executor) if fresh or self.fork is None else self.fork(folder, executor)

    def _moment(self, run: Run, folder: Path, executor: str, fresh: bool) -> None:
        """Wait until it is time."""
        if self.draw.random() < AIMED:
            until(run, self.draw.choice((first_head, half_written)), folder)
        else:
            # A fresh process starts some seconds later than a forked one, and then takes as long.
            length = self.lengths.get((executor, fresh), self.lengths[executor, self.fork is None] + 3.0 * fresh)
            time.sleep(self.draw.uniform(0.02, 1.0) * length)


def contents(out: Path) -> dict[str, bytes]:
    """What must repeat byte by byte."""
    files = (file for pattern in COMPARED for file in out.glob(pattern))
    seen = (file for file in files if not any(part.startswith(".") for part in file.relative_to(out).parts))
    return {str(file.relative_to(out)): file.read_bytes() for file in seen}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--executor", choices=("processes", "serial", "both", "ray"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    executors = ("serial", "processes") if options.executor == "both" else (options.executor,)
    base = Path(tempfile.mkdtemp(prefix="chaos-"))
    if options.executor == "ray":  # which is not to be forked
        report = Chaos(base, None, executors, options.seed).run(options.kills)
    else:
        with forking() as fork:
            report = Chaos(base, fork, executors, options.seed).run(options.kills)
    where = ", ".join(f"{count} in {name}" for name, count in report.moments.most_common())
    print(f"{report.kills} kills in {report.runs} runs ({where}); {report.files} files compared after each; ", end="")
    print(f"{report.seconds:.0f} s")
    if report.wrong:
        print(f"DIFFERENT: {report.wrong[:10]}; left in {report.left}")
        return 1
    print("every resumed run equals the uninterrupted one")
    shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
