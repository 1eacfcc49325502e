"""Rows as figures name them: what tells them apart, and nothing that all of them share."""

from __future__ import annotations

from collections.abc import Iterable

from fusionkit.grid.plan import Axes

_AXES = ("dataset", "split", "extractor", "backbone", "recipe", "views", "fusion", "smoother")


def varying(axes: Iterable[Axes]) -> list[str]:
    """The axes that are not the same for all."""
    each = list(axes)
    return [name for name in _AXES if len({getattr(one, name) for one in each}) > 1]


def row_names(axes: Iterable[Axes]) -> list[str]:
    """A name for each: the parts that vary; of a lone row, ``views/fusion/smoother``."""
    each = list(axes)
    parts = varying(each)
    return [" / ".join(getattr(one, name) for name in parts) if parts else one.name for one in each]
