"""How long until fusionkit says something? Against the smallest program of Typer and rich, and importing everything.

    python benchmarks/startup.py        # about two minutes on two cores

Fresh processes, in turn. Files are in the system's cache after the first round, which does not count.
"""

from __future__ import annotations

import argparse
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from interleaved import ONE_THREAD, Cost, in_turn, machine, timed

HELLO = '''
import typer

app = typer.Typer(no_args_is_help=True)

@app.command()
def hello(name: str = "you"):
    """Say hello."""
    print(f"hello {name}")

@app.command()
def bye():
    """Say goodbye."""

app()
'''
EVERYTHING = """
import importlib, pkgutil
import fusionkit, fusionkit_backbones, fusionkit_datasets, fusionkit_emotic, fusionkit_faces, fusionkit_fusions
import fusionkit_smoothers, fusionkit_synthetic, timm
ours = [module for name, module in globals().items() if name.startswith("fusionkit")]
for package in ours:
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__") and "templates" not in found.name:
            try:
                importlib.import_module(found.name)
            except ImportError:  # of an extra that is not installed
                pass
"""
FLOOR = "Typer and rich: `hello --help`"


def spent(command: list[str]) -> Cost:
    """A command that runs to its end."""
    return timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def until(command: list[str], words: bytes) -> Cost:
    """A command at a terminal until it shows some words; then it is ended, with what it has started.

    Raises:
        RuntimeError: if it never does.
    """
    ours, its = pty.openpty()
    began = time.perf_counter()
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True)
    os.close(its)
    shown = b""
    try:
        while words not in shown:
            shown += os.read(ours, 4096)
        return Cost(_cpu_of(process.pid), time.perf_counter() - began)
    except OSError as error:  # what a terminal says that nobody holds any more
        raise RuntimeError(f"{' '.join(command)} never got so far: {shown.decode(errors='replace')}") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)


def _cpu_of(pid: int) -> float:
    """Seconds of the processor that a process has had so far, with children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="neither the bench nor importing everything")
    options = parser.parse_args()
    os.environ.update(ONE_THREAD)
    tool = str(Path(sys.executable).with_name("fusionkit"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FUSIONKIT_CACHE"] = f"{folder}/cache"
        hello = Path(folder) / "hello.py"
        hello.write_text(HELLO, encoding="utf-8")
        commands = {
            "Python alone: `-c pass`": [sys.executable, "-c", "pass"],
            FLOOR: [sys.executable, str(hello), "--help"],
            "`import fusionkit`": [sys.executable, "-c", "import fusionkit"],
            "`fusionkit --help`": [tool, "--help"],
            "`fusionkit list`": [tool, "list"],
        }
        works = {name: partial(spent, command) for name, command in commands.items()}
        if not options.quick:
            works["every module of fusionkit, timm, torch"] = partial(spent, [sys.executable, "-c", EVERYTHING])
            bench = [tool, "bench", "--out", f"{folder}/run"]
            works["bare `fusionkit bench`, to its first progress bar"] = partial(until, bench, b"embed")
        in_turn(works, 1)
        costs = in_turn(works, options.rounds)
    print(f"{machine()}; medians of {options.rounds} rounds\n")
    print("| | processor ms | ms by the clock | / Typer's floor |\n|---|---|---|---|")
    for name, cost in costs.items():
        print(f"| {name} | {1e3 * cost.cpu:.0f} | {1e3 * cost.wall:.0f} | {cost.cpu / costs[FLOOR].cpu:.2f} |")


if __name__ == "__main__":
    main()
