"""Which views of a face, embedded, fused and smoothed how, recognise expression best, and is the difference real?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionkit.api import bench
    from fusionkit.report.results import Results

__version__ = "0.1.0"
__all__ = ["Results", "bench"]


def __getattr__(name: str) -> Any:
    if name == "bench":
        from fusionkit.api import bench

        return bench
    if name == "Results":
        from fusionkit.report.results import Results

        return Results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
