"""Inputs of components. A component must not write to them: each is read-only, or a copy that is checked afterwards."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.errors import FusionKitError, PluginError, cause_of, component_errors

if TYPE_CHECKING:
    from torch import Tensor

_STEP = 8  # one in so many frames, and in each of them one in so many rows, is compared
_HINT = "a component must not change its input: write to a copy"


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a view of an array through which it cannot be changed."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


@contextmanager
def errors_of(component: str) -> Iterator[None]:
    """Turn an error inside into a PluginError that names the component, with a hint if it wrote to its input."""
    try:
        yield
    except FusionKitError:
        raise
    except component_errors() as error:
        cause = cause_of(error)
        refused = "read-only" in cause or "readonly" in cause  # numpy's words and OpenCV's
        raise PluginError(f"{component} failed: {cause}", hint=_HINT if refused else "") from error


def input_changed(component: str, names: str) -> PluginError:
    """Return the error of a component that has changed its input."""
    return PluginError(f"{component} changes its input: {names}", hint=_HINT)


class WatchedFrames:
    """Images that a component gets. Some of their pixels are compared: a library may write to a read-only array.

    Args:
        frames: uint8 (H, W, 3) each, or one array of them.
    """

    def __init__(self, frames: Sequence[np.ndarray] | np.ndarray) -> None:
        self._frames = [frame[::_STEP] for frame in frames[::_STEP]]
        self._before = [frame.copy() for frame in self._frames]

    def changed(self) -> bool:
        """Return whether one of the compared pixels has changed."""
        return not all(map(np.array_equal, self._frames, self._before))


class WatchedTensors:
    """Tensors that a component gets.

    Torch counts the in-place operations on a tensor and its views, except those through ``.data``, ``.numpy()`` or in
    inference mode.

    Args:
        tensors: by name.
        content: also keep a copy, and compare every value.
    """

    def __init__(self, tensors: Mapping[str, Tensor], *, content: bool = False) -> None:
        self._tensors = tensors
        self._writes = [_writes(value) for value in tensors.values()]
        self._content = {name: value.detach().clone() for name, value in tensors.items()} if content else {}

    def changed(self) -> list[str]:
        """Return the names of the tensors that have been written to since."""
        written = [
            name
            for (name, value), before in zip(self._tensors.items(), self._writes, strict=True)
            if _writes(value) != before
        ]
        return written or [name for name, value in self._content.items() if not _same(self._tensors[name], value)]


def _same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors of a shape have equal values; NaN, a label that is not there, equals NaN."""
    return one.equal(other) or bool(((one == other) | one.isnan() & other.isnan()).all())


def _writes(value: Tensor) -> int:
    return 0 if value.is_inference() else value._version  # noqa: SLF001  (PyTorch documents it, and has no other name for it)


@cache
def asks_for(method: Callable[..., object], name: str) -> bool:
    """Return whether the second argument of a method, after ``self``, has a name."""
    return list(inspect.signature(method).parameters)[2:3] == [name]
