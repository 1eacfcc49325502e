"""Compare region views, backbones, fusions and temporal smoothers for facial expression recognition."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionkit._version import __version__

if TYPE_CHECKING:
    from fusionkit import api
    from fusionkit.api import Predictor, Results, bench, from_arrays, load

__all__ = ["Predictor", "Results", "__version__", "api", "bench", "from_arrays", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = import_module("fusionkit.api")
        return module if name == "api" else getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
