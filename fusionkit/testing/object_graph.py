"""Tensors that hang on a head: in attributes, lists, dicts, closures, and on its class."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import chain
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.contracts.fusion import Fusion
from fusionkit.testing.fusion_inputs import batch, logits_of, presence


def unregistered_tensors(model: Fusion) -> list[str]:
    """Where there are float tensors that should learn, or that the logits depend on, and that torch does not know of.

    A tensor matters if it asks for gradients, or if other logits come of it when it is changed.
    """
    registered = {id(value) for value in chain(model.parameters(), model.buffers())}
    views, present = batch(model), presence(model.in_dims)
    before = logits_of(model, views, present)
    found = []
    for path, value in tensors_of(model):
        if id(value) in registered:
            continue
        learns = isinstance(value, Tensor) and value.is_leaf and value.requires_grad
        if learns or _changes(value, lambda: logits_of(model, views, present), before):
            found.append(path)
    return found


def tensors_of(root: Any) -> Iterator[tuple[str, Tensor | np.ndarray]]:
    """Every float tensor and array that can be reached, once, with the way to it."""
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
            waiting += _below(path, value)


def _below(path: str, value: Any) -> Iterator[tuple[str, Any]]:
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
    elif isinstance(value, torch.nn.Module):
        own = {**vars(value)}
        for part in ("_parameters", "_buffers", "_modules"):
            own |= own.pop(part, None) or {}
        yield from ((f"{path}.{name}", item) for name, item in own.items())
        yield from _of_class(path, type(value))
    elif hasattr(value, "__dict__") and not isinstance(value, (type, ModuleType)):
        yield from ((f"{path}.{name}", item) for name, item in list(vars(value).items()))


def _of_class(path: str, cls: type) -> Iterator[tuple[str, Any]]:
    for base in cls.__mro__:
        if not base.__module__.startswith(("torch.", "fusionkit.", "builtins", "abc")):
            for name, item in list(vars(base).items()):
                if isinstance(item, (Tensor, np.ndarray, list, tuple, dict)) and not name.startswith("__"):
                    yield f"{path}.{name}", item


def _is_empty(cell: Any) -> bool:
    try:
        return cell.cell_contents is cell  # never: asked for its error
    except ValueError:
        return True


def _changes(value: Tensor | np.ndarray, logits: Any, before: Tensor) -> bool:
    """Whether other logits come of it while it has other values; it gets its own back."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        return False
    data = value.data if isinstance(value, Tensor) else torch.from_numpy(value)
    kept = data.clone()
    try:
        data.mul_(1.5).add_(0.5)
        return not torch.equal(logits(), before)
    except Exception:  # noqa: BLE001  (it is not made for other values, so they matter)
        return True
    finally:
        data.copy_(kept)
