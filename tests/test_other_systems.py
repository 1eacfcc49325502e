"""Other installations, as far as this one can show them.

What Windows and macOS lack, and the packages of optional extras, are hidden from every process of a run.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Python imports it when it starts, in the processes that a run spawns too.
HIDING = """
import builtins, ctypes, faulthandler, os, signal, sys

extras = "accelerate av datasets gradio onnxscript pandas pillow_heif pyarrow ray"
for name in extras.split():
    sys.modules[name] = None

real_import = builtins.__import__

def hiding(name, globals=None, *rest, **named):
    # Libraries of Linux import them.
    if name in {"fcntl", "resource"} and ((globals or {}).get("__name__") or "").startswith("fusionkit"):
        raise ImportError(name)
    return real_import(name, globals, *rest, **named)

builtins.__import__ = hiding
for name in ("fork", "pread", "sched_getaffinity"):  # torch asks the platform for register_at_fork
    delattr(os, name)
for name in ("pthread_sigmask", "SIGUSR1"):
    delattr(signal, name)
for name in ("register", "unregister"):
    delattr(faulthandler, name)
real = ctypes.CDLL

class Library(real):
    def __getattr__(self, name):
        if name in {"prctl", "mallopt", "malloc_trim"}:
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Library
"""
EVERY_MODULE = """
import importlib, os, pkgutil
assert not hasattr(os, "fork")
import fusionkit
kinds = "backbones datasets emotic faces fusions smoothers synthetic".split()
packages = ["fusionkit", *(f"fusionkit_{kind}" for kind in kinds)]
names = [
    found.name
    for package in map(importlib.import_module, packages)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]
for name in names:
    if not name.endswith("__main__") and ".templates" not in name:
        importlib.import_module(name)
print(len(names))
"""
GRID = (
    *("--dataset", "synthetic:train=8,val=8,test=8,clips=1,clip_length=6", "--smoother", "none"),
    *("--regions", "eye", "--fusion", "plain-concat", "--seeds", "2", "--recipe", "epochs=2"),
)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    (tmp_path / "sitecustomize.py").write_text(HIDING, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "FUSIONKIT_CACHE": str(tmp_path / "cache")}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_every_module_is_imported(run: Callable[..., str]) -> None:
    assert int(run("-c", EVERY_MODULE)) > 150


@pytest.mark.slow
def test_the_main_command_runs_in_one_process_and_in_spawned_ones_with_equal_results(
    run: Callable[..., str], tmp_path: Path
) -> None:
    run("-m", "fusionkit", "bench", *GRID, "--executor", "serial", "--out", "serial")
    run("-m", "fusionkit", "bench", *GRID, "--executor", "processes", "--workers", "2", "--out", "spawned")
    serial, spawned = ((tmp_path / out / "cells.csv").read_text(encoding="utf-8") for out in ("serial", "spawned"))
    assert len(serial.splitlines()) > 2
    assert serial == spawned
