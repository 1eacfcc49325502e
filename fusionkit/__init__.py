"""Which views of a face, embedded, fused and smoothed how, recognise expression best, and is the difference real?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusionkit._version import __version__

if TYPE_CHECKING:
    from fusionkit.api import bench, load
    from fusionkit.data.arrays import from_arrays
    from fusionkit.predict.predictor import Predictor
    from fusionkit.report.run import Results

__all__ = ["Predictor", "Results", "__version__", "bench", "from_arrays", "load"]


def __getattr__(name: str) -> Any:
    if name in ("bench", "load"):
        from fusionkit import api

        return getattr(api, name)
    if name == "from_arrays":
        from fusionkit.data.arrays import from_arrays

        return from_arrays
    if name == "Predictor":
        from fusionkit.predict.predictor import Predictor

        return Predictor
    if name == "Results":
        from fusionkit.report.run import Results

        return Results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
