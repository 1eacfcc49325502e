"""Swaps of units between two models, and what they do to the metric: the work of permutation tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from fusionkit.contracts.task import Task

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


_TIE = 1e-12  # mathematically equal statistics differ by rounding; two metrics do not differ by so little
_CHUNK = 1024  # permutations per matrix product: intermediate results stay in the processor's cache


@dataclass(frozen=True, eq=False)
class UnitSwaps:
    """The counts of two models in the form in which swaps of units are fast.

    P of the U units change something. Counts of no frame in any unit are left out.

    Attributes:
        task: that was counted.
        present: (K,) bool; parts that the truth of all units supports.
        moved: (U,) bool; the other units have equal counts in both models, so swapping them changes nothing.
        change: (S * size, P) float; what swapping a unit adds to the counts of the first model.
        start: (S, size) float64; counts of the first model without any swap.
        both: (S, size) float64; the sum of both models, which no swap changes.
        shape: of the counts of a unit; ``size`` is their number.
    """

    task: Task
    present: np.ndarray
    moved: np.ndarray
    change: np.ndarray
    start: np.ndarray
    both: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def of(cls, task: Task, a: np.ndarray, b: np.ndarray) -> UnitSwaps:
        """Build from counts (S, U, *shape) with the same truth."""
        seeds, units, *shape = a.shape
        first, second = (counts.reshape(seeds, units, -1).astype(np.float64) for counts in (a, b))
        change = second - first
        moved: np.ndarray = np.any(change, axis=(0, 2))
        change = change[:, moved].transpose(0, 2, 1).reshape(seeds * first.shape[2], int(moved.sum()))
        # Below 2**24, sums of integers are exact in single precision, so p does not depend on the number of threads.
        whole = all(counts.dtype.kind in "iu" for counts in (a, b))
        exact_in_single = whole and np.abs(change).sum(1).max(initial=0) < 2**24
        return cls(
            task=task,
            present=np.any(task.support(a.sum(1)) > 0, axis=0),
            moved=moved,
            change=change.astype(np.float32 if exact_in_single else np.float64),
            start=first.sum(1),
            both=(first + second).sum(1),
            shape=tuple(shape),
        )

    def difference(self, swaps: np.ndarray) -> np.ndarray:
        """Return the metric of the first model minus the second, mean over seeds: swaps (P, n) of 0 and 1 to (n,)."""
        found: np.ndarray = self._difference(swaps, lambda counts: self.task.metric(counts, self.present))
        return found

    def part_differences(self, swaps: np.ndarray) -> np.ndarray:
        """Return the difference in the score of each present part, mean over seeds: swaps (P, n) to (parts, n)."""
        found: np.ndarray = self._difference(swaps, lambda counts: self.task.scores(counts)[..., self.present]).T
        return found

    def _difference(self, swaps: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        with np.errstate(all="ignore"):  # some processors raise flags for the unused ends of their vectors
            added = (self.change @ swaps.astype(self.change.dtype)).astype(np.float64)
        seeds, size = self.start.shape
        first = self.start[..., None] + added.reshape(seeds, size, -1)
        models = (np.moveaxis(counts, 1, -1) for counts in (first, self.both[..., None] - first))
        one, other = (statistic(counts.reshape(*counts.shape[:2], *self.shape)) for counts in models)
        mean: np.ndarray = (one - other).mean(0)
        return mean


def share_as_extreme(
    units: UnitSwaps, statistic: Callable[[np.ndarray], np.ndarray], permutations: int, seed: int
) -> np.ndarray:
    """Return the two-sided p of a statistic of swaps, (P, n) to (..., n): the share of swaps at least as extreme."""
    moved = int(units.moved.sum())
    exact = 2**moved <= permutations
    swaps = all_swaps(moved) if exact else drawn_swaps(units.moved, permutations, seed)
    observed = np.abs(statistic(np.zeros((moved, 1)))) - _TIE
    with _threads().limit(limits=1):  # on a busy machine, products this small are ten times slower on two threads
        extreme = np.sum([(np.abs(statistic(swap)) >= observed).sum(-1) for swap in swaps], axis=0)
    share: np.ndarray = extreme / 2**moved if exact else (1 + extreme) / (1 + permutations)
    return share


@cache
def _threads() -> ThreadpoolController:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def all_swaps(units: int) -> Iterator[np.ndarray]:
    """Yield every subset of the units, in chunks (units, n) of 0 and 1."""
    for start in range(0, 2**units, _CHUNK):
        subset = np.arange(start, min(start + _CHUNK, 2**units))
        yield subset >> np.arange(units)[:, None] & 1


def drawn_swaps(moved: np.ndarray, permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Yield random subsets of all units, in chunks (moved units, n) of 0 and 1; drawn as bits to save memory."""
    bits = np.random.default_rng(seed).integers(0, 256, (len(moved), -(-permutations // 8)), dtype=np.uint8)[moved]
    for start in range(0, permutations, _CHUNK):
        chunk = bits[:, start // 8 : -(-(start + _CHUNK) // 8)]
        yield np.unpackbits(chunk, axis=1, count=min(_CHUNK, permutations - start))
