"""What the tests of the grid share: the benchmark that kills runs."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/chaos.py"


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
