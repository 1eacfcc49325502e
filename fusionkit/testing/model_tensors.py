"""Search for tensors of a model that are neither parameters nor buffers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from itertools import chain
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def unregistered_tensors(model: nn.Module, logits: Callable[[], Tensor]) -> list[str]:
    """Return the paths of float tensors that take part but are neither parameters nor buffers.

    A tensor takes part if it requires a gradient, or if other values of it change the logits.

    Args:
        model: the model.
        logits: computes logits of the model.
    """
    registered = {id(value) for value in chain(model.parameters(), model.buffers())}
    before = logits()
    return [
        path
        for path, value in _tensors_of(model)
        if id(value) not in registered
        and ((isinstance(value, Tensor) and value.is_leaf and value.requires_grad) or _changes(value, logits, before))
    ]


def _changes(value: Tensor | np.ndarray, logits: Callable[[], Tensor], before: Tensor) -> bool:
    """Return whether other values change the logits; the old values are restored."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        return False
    data = value.data if isinstance(value, Tensor) else torch.from_numpy(value)
    kept = data.clone()
    try:
        data.mul_(1.5).add_(0.5)
        return not torch.equal(logits(), before)
    except Exception:  # noqa: BLE001  (the model fails with other values, so they matter)
        return True
    finally:
        data.copy_(kept)


def _tensors_of(root: Any) -> Iterator[tuple[str, Tensor | np.ndarray]]:
    """Yield every reachable float tensor and array once, with its path."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("self", root)]
    while waiting:
        path, value = waiting.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            if value.is_floating_point():
                yield path, value
        elif isinstance(value, np.ndarray):
            if value.dtype.kind == "f":
                yield path, value
        else:
            waiting += _children(path, value)


def _children(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"{path}[{key!r}]", item) for key, item in list(value.items()))
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from ((f"{path}.{part}", getattr(value, part)) for part in ("func", "args", "keywords"))
    elif isinstance(value, MethodType):
        yield f"{path}.__self__", value.__self__
    elif isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if not _is_empty(cell)]
        yield from ((f"{path}.<closure>[{index}]", item) for index, item in enumerate(cells))
    elif isinstance(value, nn.Module):
        own = {**vars(value)}
        for part in ("_parameters", "_buffers", "_modules"):
            own |= own.pop(part, None) or {}
        yield from ((f"{path}.{name}", item) for name, item in own.items())
        yield from _class_attributes(path, type(value))
    elif hasattr(value, "__dict__") and not isinstance(value, (type, ModuleType)):
        yield from ((f"{path}.{name}", item) for name, item in list(vars(value).items()))


def _class_attributes(path: str, cls: type) -> Iterator[tuple[str, Any]]:
    for base in cls.__mro__:
        if not base.__module__.startswith(("torch.", "fusionkit.", "builtins", "abc")):
            for name, item in list(vars(base).items()):
                if isinstance(item, (Tensor, np.ndarray, list, tuple, dict)) and not name.startswith("__"):
                    yield f"{path}.{name}", item


def _is_empty(cell: Any) -> bool:
    """Return whether a closure cell has no value yet, so that reading it fails."""
    try:
        return cell.cell_contents is cell
    except ValueError:
        return True
