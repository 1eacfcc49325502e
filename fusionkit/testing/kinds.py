"""Which checks a component of a kind is given."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from fusionkit.testing.check import Check

_SUITES = {
    "fusion": ("fusion_running", "fusion_values", "fusion_views", "fusion_learning", "fusion_storage"),
    "fitted fusion": ("fitted_fusion",),
    "smoother": ("smoother_values", "smoother_time", "smoother_fitting"),
    "extractor": ("extractor_checks",),
    "backbone": ("backbone_checks",),
    "dataset": ("dataset_table", "dataset_reading"),
}


def checks_of(kind: str, cls: type | None = None) -> Iterator[Check]:
    """The checks of a kind, in order; those of a fusion depend on whether it learns by gradient steps.

    Args:
        kind: singular, as in a registry.
        cls: the component's class; None for every check that a component of the kind could meet.
    """
    from fusionkit.testing import documentation

    yield from documentation.CHECKS
    for suite in _suites(kind, cls):
        for module in _SUITES[suite]:
            yield from importlib.import_module(f"fusionkit.testing.{module}").CHECKS


def _suites(kind: str, cls: type | None) -> list[str]:
    if kind != "fusion":
        return [kind]
    if cls is None:
        return ["fusion", "fitted fusion"]
    from fusionkit.contracts.fusion import FittedFusion

    return ["fitted fusion" if issubclass(cls, FittedFusion) else "fusion"]
