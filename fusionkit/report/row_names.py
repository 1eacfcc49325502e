"""Short names of rows and data sets: the settings in which the rows of a run folder differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Protocol, TypeVar

from fusionkit.errors import ConfigError
from fusionkit.grid.axes import RANDOM_MARK, Axes
from fusionkit.registry.spec import Spec

_AXES = ("task", "learned_with", "dataset", "split", "extractor", "backbone", "recipe", "views", "fusion", "smoother")


class _HasAxes(Protocol):
    @property
    def axes(self) -> Axes: ...


T = TypeVar("T", bound=_HasAxes)


def by_data(rows: Iterable[T]) -> dict[tuple[str, str, str], list[T]]:
    """Group rows by data set, split and task."""
    groups: dict[tuple[str, str, str], list[T]] = defaultdict(list)
    for row in rows:
        groups[row.axes.dataset, row.axes.split, row.axes.task].append(row)
    return groups


def varying(axes: Iterable[Axes], names: Iterable[str] = _AXES) -> list[str]:
    """Return the axes that differ between rows.

    Args:
        axes: axes of each row.
        names: candidates. Default: all.
    """
    rows = list(axes)
    return [name for name in names if len({getattr(row, name) for row in rows}) > 1]


def settings_in_common(shown: Sequence[Axes], rows: Sequence[Axes]) -> str:
    """Return a sentence on the settings that vary between rows and are equal in those shown; empty if there are none.

    Args:
        shown: axes of the rows shown, whose names leave such settings out.
        rows: axes of all rows.
    """
    names = dataset_names(each.dataset for each in rows)
    common = [
        f"{axis} {names.get(value, value)}"
        for axis in varying(rows)
        if axis not in varying(shown) and (value := getattr(shown[0], axis))
    ]
    return f" All with {', '.join(common)}." if common and len(shown) > 1 else ""


class _Row(_HasAxes, Protocol):
    @property
    def random_backbones(self) -> list[str]: ...


class RowNames:
    """Names of the rows of a run folder, with a mark of those with random weights.

    Args:
        rows: rows of the folder, or of a plan.
    """

    def __init__(self, rows: Iterable[_Row]) -> None:
        given = list(rows)
        axes = [row.axes for row in given]
        self._varying = varying(axes)
        self._datasets = dataset_names(each.dataset for each in axes)
        self._random = {(row.axes.backbone, row.axes.views) for row in given if row.random_backbones}

    def __call__(self, axes: Axes, *, without: str = "") -> str:
        """Return the settings of a row that vary; ``views/fusion/smoother`` for a single row.

        Args:
            axes: axes of the row.
            without: axis to leave out.
        """
        parts = [self.part(axes, name) for name in self._varying if name != without]
        name = " / ".join(filter(None, parts)) or axes.name
        return f"{name}{RANDOM_MARK}" if self.is_random(axes) else name

    def is_random(self, axes: Axes) -> bool:
        """Return whether a backbone of a row has random weights; its views and backbone decide."""
        return (axes.backbone, axes.views) in self._random

    def data(self, axes: Axes) -> str:
        """Return the data set of a row, with its split and its task if several are in the folder."""
        split = f" {axes.split}" if "split" in self._varying else ""
        task = f", task {axes.task}" if "task" in self._varying else ""
        return self.part(axes, "dataset") + split + task

    def part(self, axes: Axes, name: str) -> str:
        """Return the setting of one axis of a row."""
        value: str = getattr(axes, name)
        if name == "learned_with":
            return "alone" if value == "none" else f"with {value}"
        return self._datasets.get(value, value) if name == "dataset" else value


def dataset_names(texts: Iterable[str]) -> dict[str, str]:
    """Return short names: ``fer2013`` for ``fer2013:part=private``, ``folder faces`` for ``folder:root=/data/faces``.

    Data sets of one component are named with the options in which they differ.
    """
    specs: dict[str, Spec | None] = {}
    for text in texts:
        try:
            specs[text] = Spec.parse(text)
        except ConfigError:
            specs[text] = None
    same_component: dict[str, list[Spec]] = defaultdict(list)
    for spec in filter(None, specs.values()):
        same_component[spec.name].append(spec)
    return {text: _short(spec, same_component[spec.name]) if spec else text for text, spec in specs.items()}


def _short(spec: Spec, same_component: list[Spec]) -> str:
    if len(same_component) > 1:
        options = {
            name: value
            for name, value in spec.options.items()
            if any(other.options.get(name) != value for other in same_component)
        }
        return str(Spec(spec.name, options))
    root = PurePath(str(spec.options.get("root", spec.name))).name
    return spec.name if root == spec.name else f"{spec.name} {root}"
