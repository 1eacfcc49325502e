"""How the features of a view are imputed and standardised, as fitted on its training frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from fusionkit.engine.embeddings import present_rows

Blocks = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True, eq=False)
class Scaling:
    """Mean and scale of one view's features.

    Attributes:
        mean: (D,) float32, over the training frames that have the view.
        scale: (D,) float32, their standard deviation; 1 for a constant feature, and where nothing is standardised.
        standardize: whether values are brought to mean 0 and variance 1.
    """

    mean: np.ndarray
    scale: np.ndarray
    standardize: bool

    @classmethod
    def of(cls, blocks: Blocks, *, standardize: bool) -> Self | None:
        """The scaling of some rows; None if the view is missing in all of them.

        Args:
            blocks: gives (n, D) or (n, K, D) of the rows, block by block, each time it is called; NaN rows are missing.
            standardize: as the attribute.
        """
        count, total = _sum(_seen(blocks()))
        if not count:
            return None
        center = total / count
        mean = center.astype(np.float32)
        if not standardize:
            return cls(mean, np.ones_like(mean), standardize)
        _, squares = _sum(np.square(values - center) for values in _seen(blocks()))
        spread = np.sqrt(squares / count)
        spread[spread < 1e-6 * np.maximum(np.abs(center), 1e-6)] = 1.0  # a constant feature stays constant
        return cls(mean, spread.astype(np.float32), standardize)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Impute the mean and standardise, in place.

        Args:
            values: (n, D) or (n, K, D) float32; NaN rows are missing.

        Returns:
            (n,) bool: which rows have the view.
        """
        there = present_rows(values)
        values[~there] = self.mean
        if self.standardize:
            np.subtract(values, self.mean, out=values)
            np.divide(values, self.scale, out=values)
        return there


def _seen(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Of each block the rows that are there, (m, D) float64."""
    for block in blocks:
        yield block[present_rows(block)].reshape(-1, block.shape[-1]).astype(np.float64)


def _sum(blocks: Iterator[np.ndarray]) -> tuple[int, np.ndarray]:
    """How many rows there are, and their sum (D,)."""
    count, total = 0, np.zeros(1)
    for block in blocks:
        # Row is added to row, with what came before as the first: how rows are cut into blocks changes no bit.
        total = np.concatenate([np.broadcast_to(total, (1, block.shape[1])), block]).sum(0)
        count += len(block)
    return count, total
