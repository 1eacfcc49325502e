"""Rows as people are told of them: by what tells them apart in their folder, and data sets by a short name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePath

from fusionkit.errors import ConfigError
from fusionkit.grid.axes import Axes
from fusionkit.registry.spec import Spec

_AXES = ("dataset", "split", "extractor", "backbone", "recipe", "views", "fusion", "smoother")


def varying(axes: Iterable[Axes]) -> list[str]:
    """The axes that are not the same for all."""
    each = list(axes)
    return [name for name in _AXES if len({getattr(one, name) for one in each}) > 1]


class RowNames:
    """Names of the rows of a folder, the same in every figure; of a lone row ``views/fusion/smoother``."""

    def __init__(self, axes: Iterable[Axes]) -> None:
        each = list(axes)
        self._parts = varying(each)
        self._datasets = dataset_names(one.dataset for one in each)

    def __call__(self, axes: Axes, *, without: str = "") -> str:
        """The parts of a row that vary, but for one axis that a figure shows otherwise."""
        parts = [self.part(axes, name) for name in self._parts if name != without]
        return " / ".join(filter(None, parts)) or axes.name

    def data(self, axes: Axes) -> str:
        """The row's data set, and its split where several are in the folder."""
        split = f" {axes.split}" if "split" in self._parts else ""
        return self.part(axes, "dataset") + split

    def part(self, axes: Axes, name: str) -> str:
        """The row's choice of one axis."""
        value: str = getattr(axes, name)
        return self._datasets.get(value, value) if name == "dataset" else value


def dataset_names(texts: Iterable[str]) -> dict[str, str]:
    """``fer2013`` for ``fer2013:part=private``, ``folder faces`` for ``folder:root=/home/me/faces``.

    Where two of one name are read, with the options in which they differ.
    """
    specs: dict[str, Spec | None] = {}
    for text in texts:
        try:
            specs[text] = Spec.parse(text)
        except ConfigError:
            specs[text] = None
    alike: dict[str, list[Spec]] = defaultdict(list)
    for spec in filter(None, specs.values()):
        alike[spec.name].append(spec)
    return {text: _short(spec, alike[spec.name]) if spec else text for text, spec in specs.items()}


def _short(spec: Spec, alike: list[Spec]) -> str:
    if len(alike) > 1:
        options = {
            name: value
            for name, value in spec.options.items()
            if any(other.options.get(name) != value for other in alike)
        }
        return str(Spec(spec.name, options))
    root = PurePath(str(spec.options.get("root", spec.name))).name
    return spec.name if root == spec.name else f"{spec.name} {root}"
