"""Features of some frames, in memory: what a head is trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Arrays = dict[str, np.ndarray]

_ALIGNMENT = 64


class Presence:
    """What can be said of frames from which views they have.

    Attributes:
        present: (n,) bool by view.
    """

    present: Arrays

    @property
    def seen(self) -> np.ndarray:
        """(n,) bool: at least one view is there."""
        anything: np.ndarray = np.any(list(self.present.values()), axis=0)
        return anything

    @property
    def whole(self) -> np.ndarray:
        """(n,) bool: every view is there."""
        everything: np.ndarray = np.all(list(self.present.values()), axis=0)
        return everything


@dataclass(frozen=True, eq=False)
class Part(Presence):
    """Features of some frames.

    Attributes:
        views: (n, D_v) or (n, K, D_v) float32 by view; a missing view holds the training mean.
        present: (n,) bool by view.
    """

    views: Arrays
    present: Arrays

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(n, D_v) or (n, K, D_v) by view, main view first."""
        return {name: value.shape for name, value in self.views.items()}

    def take(self, rows: np.ndarray) -> Part:
        """Some of the frames."""
        return Part(
            {name: value[rows] for name, value in self.views.items()},
            {name: value[rows] for name, value in self.present.items()},
        )


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """An empty float32 array that begins where torch's would: the last bits of a matrix product may depend on that."""
    size = int(np.prod(shape)) * 4
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(shape)
