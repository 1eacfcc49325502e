"""What does the main command cost? In turns with another version's, from an empty cache and again, by processor time.

    python benchmarks/main_command.py                                   # this version
    python benchmarks/main_command.py --against OLD/.venv/bin/fusionkit  # in turns with another

Processor seconds of all processes of a command, user and system, medians of ``--rounds``: other work on the machine
hardly changes them. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from interleaved import Cost, machine

COMMAND = ("bench", "--regions", "eye,mouth", "--fusion", "concat")
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans become children of this process, which waits for them


def cost(program: str, options: list[str], folder: Path) -> Cost:
    """Run the command once, and wait for every process that it started."""
    started, before = time.perf_counter(), os.times()
    environment = {**os.environ, "FUSIONKIT_CACHE": str(folder / "cache")}
    command = [program, *COMMAND, *options, "--out", str(folder / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr}")
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = os.times()
    return Cost(after.children_user + after.children_system - before.children_user - before.children_system, wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="another version's fusionkit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("options", nargs="*", help="more options of the command, after --")
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    programs = {"this": str(Path(sys.executable).with_name("fusionkit"))}
    if given.against:
        programs["other"] = given.against
    found: dict[tuple[str, str], list[Cost]] = {}
    print(f"{machine()}\n")
    for number in range(given.rounds):
        for name in list(programs)[:: 1 if number % 2 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                for state in ("cold", "again"):
                    found.setdefault((name, state), []).append(cost(programs[name], given.options, Path(folder)))
                    last = found[name, state][-1]
                    print(f"{number}: {name}, {state}: {last.cpu:.1f} s CPU, {last.wall:.1f} s", file=sys.stderr)
    print("| version | cold, CPU s | by the clock | again, CPU s | by the clock |\n|---|---|---|---|---|")
    for name in programs:
        values = [
            f"{median(getattr(each, kind) for each in found[name, state]):.1f}"
            for state in ("cold", "again")
            for kind in ("cpu", "wall")
        ]
        print(f"| {name} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
