"""What the tests of the grid share: the benchmark that kills runs."""

import importlib.util
import multiprocessing
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/chaos.py"


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the workers of pools from this process: each of those that are spawned spends seconds on imports."""
    importlib.import_module("fusionkit.engine.fit")
    forking = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda _=None: forking)


@pytest.fixture(scope="session")
def chaos() -> ModuleType:
    """``benchmarks/chaos.py``, which is in no package."""
    spec = importlib.util.spec_from_file_location("chaos", BENCHMARK)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
