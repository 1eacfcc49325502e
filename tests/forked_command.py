"""Commands of fusionkit in a process forked from that of the test: a fresh one spends seconds on imports.

The pools of such a command fork their workers too, and it writes no report. Everything else is as on the command line:
a process group of its own, exit code, standard output and standard error.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

# What commands and workers would import for more than a moment; torch imports its compiler at the first training step.
from fusionkit.grid.tasks import single_thread

LIBRARIES = (
    "fusionkit.engine.fit",
    "fusionkit.grid.run",
    "fusionkit.report.run",
    "mmengine",
    "pebble",
    "torch._dynamo",
)
TIMEOUT = 600.0  # s; no command of a test takes as long, on however busy a machine


class ForkedCommand:
    """A command that runs in a folder.

    Args:
        folder: working directory; the cache is in it.
        words: the command line, without ``fusionkit``.
        before: called in the process first.
    """

    def __init__(self, folder: Path, *words: str | Path, before: Callable[[], object] = lambda: None) -> None:
        self.words = [str(word) for word in words]
        self.streams = [tempfile.TemporaryFile(mode="w+", encoding="utf-8") for _ in range(2)]  # noqa: SIM115  (`wait` closes them)
        for library in LIBRARIES:
            import_module(library)
        self.process = multiprocessing.get_context("fork").Process(target=self._run, args=(folder, before))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)  # of other threads
            undo = single_thread()  # a pool of threads does not survive a fork, and its copy could not be ended
            self.process.start()
            undo()

    def wait(self) -> CompletedProcess[str]:
        """Wait for its end; kill it if that does not come."""
        self.process.join(TIMEOUT)
        if self.process.exitcode is None:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
            self.process.join()
        texts = []
        for stream in self.streams:
            with stream:
                stream.seek(0)
                texts.append(stream.read())
        return CompletedProcess(self.words, self.process.exitcode or 0, *texts)

    def _run(self, folder: Path, before: Callable[[], object]) -> None:
        os.setsid()
        os.chdir(folder)
        os.environ["FUSIONKIT_CACHE"] = str(folder / "cache")
        for number, stream in enumerate(self.streams, 1):
            os.dup2(stream.fileno(), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False, encoding="utf-8") for number in (1, 2))
        faulthandler.disable()  # that of pytest writes elsewhere
        warnings.simplefilter("ignore")
        _fork_workers()
        from fusionkit.cli import main
        from fusionkit.report.page import write

        write.write_report = lambda *_, **__: Path()
        before()
        sys.argv = ["fusionkit", *self.words]
        main()


def _fork_workers() -> None:
    forking: Any = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda _=None: forking  # type: ignore[assignment]
    sys.modules["__main__"].__spec__ = find_spec("fusionkit.__main__")  # as under python -m: pools may start


def forked(folder: Path, *words: str | Path, before: Callable[[], object] = lambda: None) -> CompletedProcess[str]:
    """Run a command to its end."""
    return ForkedCommand(folder, *words, before=before).wait()
