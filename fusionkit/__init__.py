"""Compare region views, backbones, fusions and temporal smoothers for facial expression recognition."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionkit._version import __version__

if TYPE_CHECKING:
    from fusionkit import api, contracts, errors, registry, testing
    from fusionkit.api import Predictor, Results, bench, from_arrays, load

_MODULES = ("api", "contracts", "errors", "registry", "testing")
__all__ = [
    "Predictor",
    "Results",
    "__version__",
    "api",
    "bench",
    "contracts",
    "errors",
    "from_arrays",
    "load",
    "registry",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"fusionkit.{name}")
    if name in __all__:
        return getattr(import_module("fusionkit.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
