"""What every test shares: a cache of its own, and registries that forget what a test has registered."""

import os
import signal
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import example_counts  # noqa: F401  (registers the profiles)
import pytest
import threadpoolctl
import typer.main
from hypothesis import settings

from fusionkit.registry import REGISTRIES

# One thread each: the native threads of several workers of pytest-xdist would fight for the cores. Read by libraries
# when they are imported, and by the processes that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tables are as wide as in a file, whatever terminal the tests are started from; read when the commands are imported.
os.environ["COLUMNS"] = "140"


def pytest_configure(config: pytest.Config) -> None:
    """Small data sets of tests have few units, of which every bench warns."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; tests send interrupts
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("filterwarnings", "ignore::fusionkit.errors.FusionKitWarning")
    settings.load_profile("daily" if "not slow" in config.option.markexpr else "whole")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give workers neighbouring tests, which share the fixtures of their module or folder."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The embedding cache of this test alone; commands that a test starts inherit it."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("FUSIONKIT_CACHE", str(cache))
    return cache


@pytest.fixture(autouse=True, scope="session")
def no_fsync() -> Iterator[None]:
    """No file of a test must outlast a power cut, and waiting for the disk takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_repeated_setup() -> Iterator[None]:
    """Do once what a process does once, and tests that share one would do thousands of times."""
    controller = threadpoolctl.ThreadpoolController()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", cache(typer.main.get_command))
        patch.setattr(threadpoolctl, "ThreadpoolController", lambda: controller)  # it looks for the loaded libraries
        patch.setattr(traceback, "format_stack", list)  # torch formats two for each seed, for want of a GPU
        yield


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no report at the end of a bench: it takes most of the time of a small one."""
    monkeypatch.setattr("fusionkit.report.page.write.write_report", lambda *_, **__: None)


@pytest.fixture(autouse=True)
def own_registrations() -> Iterator[None]:
    """Components that a test registers, by a plugin file or directly, are gone when it is over."""
    before = {name: dict(registry._registered) for name, registry in REGISTRIES.items()}
    yield
    for name, registry in REGISTRIES.items():
        for added in registry._registered.keys() - before[name].keys():
            del registry._registered[added]
            registry._classes.module_dict.pop(added, None)
