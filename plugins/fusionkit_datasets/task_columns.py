"""Option ``tasks``: columns of numbers that are labels of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusionkit.errors import ConfigError
from fusionkit.registry.spec import parse_value, split_outside

TasksOption = dict[str, list[str]] | str | None

HINT = "tasks={action-units:[AU1,AU2],valence-arousal:[valence,arousal]}"


def task_columns(dataset: str, option: Mapping[str, list[str]] | str | None) -> dict[str, tuple[str, ...]]:
    """Return the names of the columns of each task.

    Args:
        dataset: name of the data set, for messages.
        option: a dict, its text ``{task:[column,column],...}``, or None.

    Raises:
        ConfigError: if it is none of these, a task is named twice, names no column or one twice, or is ``expression``.
    """
    found: dict[str, tuple[str, ...]] = {}
    for task, columns in _items(dataset, option):
        names = columns if isinstance(columns, list | tuple) else [columns]
        if task == "expression":
            raise ConfigError(f"{dataset}: tasks: labels of expression are those of the class", hint=HINT)
        if task in found:
            raise ConfigError(f"{dataset}: tasks: {task!r} is given twice", hint=HINT)
        if not names or len(set(map(str, names))) < len(names) or not all(isinstance(n, str) and n for n in names):
            raise ConfigError(
                f"{dataset}: tasks: {task!r} must have different names of columns, not {columns!r}", hint=HINT
            )
        found[task] = tuple(names)
    return found


def columns_hint(task: str) -> str:
    """Return how the labels of a task are named, for a data set without them."""
    return f"tasks={{{task}:[COLUMN,...]}} names columns with them"


def _items(dataset: str, option: Mapping[str, Any] | str | None) -> list[tuple[str, Any]]:
    if not isinstance(option, str):
        return list((option or {}).items())
    inner = option.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        raise ConfigError(f"{dataset}: tasks={option!r} must be {{task:[column,...],...}}", hint=HINT)
    items = [item.partition(":") for item in split_outside(inner[1:-1])]
    return [(task.strip().strip("\"'"), parse_value(columns)) for task, _, columns in items]
