"""Small heads and batches that fusions are tried on."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fusionkit.contracts.fusion import Fusion, FusionOutput
from fusionkit.testing.case import Skipped, Subject

Views = dict[str, Tensor]
Dims = dict[str, int]

CLASSES, ROWS = 5, 9
STANDARD: Dims = {"face": 6, "eye": 6, "mouth": 6}
ONE: Dims = {"face": 6}
DIFFERENT: Dims = {"face": 6, "eye": 4}
TWELVE: Dims = {f"view{number}": 4 for number in range(12)}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch start at the seed in here, and go on outside as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build(subject: Subject, dims: Dims = STANDARD, seed: int = 0) -> Fusion:
    """A head in evaluation mode, its weights drawn with the seed."""
    with seeded(seed):
        model: Fusion = subject.build(in_dims=dict(dims), num_classes=CLASSES)
        model.attach_head()
    return model.eval()


def batch(model: Fusion, rows: int = ROWS) -> Views:
    """Made-up embeddings, pooled or tokens as the fusion needs."""
    generator = torch.Generator().manual_seed(4)
    lead = (rows, model.token_count) if model.needs == "tokens" else (rows,)
    return {name: torch.randn(*lead, width, generator=generator) for name, width in model.in_dims.items()}


def presence(dims: Dims, rows: int = ROWS) -> Views:
    """Half of the views are there; in the first row none is, in the second all are."""
    generator = torch.Generator().manual_seed(5)
    present = {name: torch.rand(rows, generator=generator) < 0.5 for name in dims}
    for here in present.values():
        here[0], here[1:2] = False, True
    return present


def everything(dims: Dims, rows: int = ROWS) -> Views:
    """All views are there."""
    return {name: torch.ones(rows, dtype=torch.bool) for name in dims}


def logits_of(model: Fusion, views: Views, present: Views | None = None) -> Tensor:
    """Logits (B, C) without their graph."""
    with torch.no_grad():
        return logits_in(model(views, present))


def logits_in(output: FusionOutput) -> Tensor:
    """The logits of an output, which the base class has filled in."""
    assert output.logits is not None
    return output.logits


def require_scalar(loss: Tensor) -> Tensor:
    """The loss, where a gradient can be taken of it.

    Raises:
        Skipped: if it is no scalar: the business of ``loss_is_a_finite_scalar``.
    """
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        raise Skipped("loss_is_a_finite_scalar fails")
    return loss


def heads(subject: Subject) -> Iterator[tuple[str, Fusion]]:
    """Heads on three, one, two and twelve views; those on which the fusion fails are the business of other checks.

    Yields:
        What to call the views in a message, and the head.

    Raises:
        Skipped: if the fusion fails on all of them.
    """
    tried = 0
    for dims in (STANDARD, ONE, DIFFERENT, TWELVE):
        try:
            model = build(subject, dims)
            logits_of(model, batch(model))
        except Exception:  # noqa: BLE001, S112  (checks of their own say what is wrong)
            continue
        tried += 1
        yield f"on {len(dims)} view{'s' if len(dims) > 1 else ''}", model
    if not tried:
        raise Skipped("it runs on no set of views")


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
