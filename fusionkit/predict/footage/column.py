"""Rows of numbers that are added as they come, packed."""

from __future__ import annotations

from array import array

import numpy as np


class Column:
    """Rows of one shape, in as many bytes as they have, with room to grow.

    Args:
        kind: of the numbers, float32 or int64 for example.
        shape: of a row.
    """

    def __init__(self, kind: type[np.generic], shape: tuple[int, ...] = ()) -> None:
        self._kind, self._shape = np.dtype(kind), shape
        self._bytes = array("B")

    def __len__(self) -> int:
        return len(self._bytes) // (self._kind.itemsize * int(np.prod(self._shape)))

    def add(self, rows: object) -> None:
        """More rows, (k, *shape)."""
        self._bytes.frombytes(np.ascontiguousarray(rows, self._kind).tobytes())

    def __getitem__(self, row: int) -> np.ndarray:
        """One row, (*shape)."""
        size = self._kind.itemsize * int(np.prod(self._shape))
        return np.frombuffer(self._bytes[row * size : (row + 1) * size].tobytes(), self._kind).reshape(self._shape)

    @property
    def values(self) -> np.ndarray:
        """All rows, (n, *shape)."""
        return np.frombuffer(self._bytes.tobytes(), self._kind).reshape(-1, *self._shape)
