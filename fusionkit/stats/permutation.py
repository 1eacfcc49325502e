"""Swaps of units between two models, and what they do to macro-F1: the work of permutation tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


_TIE = 1e-12  # mathematically equal statistics differ by rounding; two macro-F1 cannot differ by so little
_CHUNK = 1024  # permutations per matrix product: intermediate results stay in the processor's cache


@dataclass(frozen=True, eq=False)
class UnitSwaps:
    """The counts of two models in the form in which swaps of units are fast.

    The truth is the same for both models, so the F1 of a class needs two counts, hits and predictions, and a swap moves
    them from one model to the other. P of the U units change something; classes that are not in the truth are left out.

    Attributes:
        classes: (C,) bool; those in the truth. Below, C counts these alone.
        moved: (U,) bool; the other units have equal counts in both models, so swapping them changes nothing.
        change: (S * 2 * C, P) float; what swapping a unit adds to the counts of the first model.
        start: (S, 2, C, 1) int64; counts of the first model without any swap.
        both: (S, 2, C, 1) int64; the sum of both models, which no swap changes.
        support: (C, 1); frames of each class in the truth.
    """

    classes: np.ndarray
    moved: np.ndarray
    change: np.ndarray
    start: np.ndarray
    both: np.ndarray
    support: np.ndarray

    @classmethod
    def of(cls, a: np.ndarray, b: np.ndarray) -> UnitSwaps:
        """Build from counts (S, U, C, C) with the same truth."""
        support = a[0].sum((0, 2))
        first, second = (_hits_and_predicted(counts)[..., support > 0] for counts in (a, b))
        change = second - first
        moved = change.any((0, 2, 3))
        change = change[:, moved].transpose(0, 2, 3, 1).reshape(change[:, 0].size, -1)
        # Below 2**24, sums of integers are exact in single precision, so p does not depend on the number of threads.
        exact_in_single = np.abs(change).sum(1).max() < 2**24
        return cls(
            classes=support > 0,
            moved=moved,
            change=change.astype(np.float32 if exact_in_single else np.float64),
            start=first.sum(1)[..., None],
            both=(first + second).sum(1)[..., None],
            support=support[support > 0][:, None],
        )

    def difference(self, swaps: np.ndarray) -> np.ndarray:
        """Return macro-F1 of the first model minus the second, mean over seeds: swaps (P, n) of 0 and 1 to (n,)."""
        mean: np.ndarray = self.class_differences(swaps).mean(0)
        return mean

    def class_differences(self, swaps: np.ndarray) -> np.ndarray:
        """Return the difference in F1 of each class, mean over seeds: swaps (P, n) of 0 and 1 to (C, n)."""
        with np.errstate(all="ignore"):  # some processors raise flags for the unused ends of their vectors
            added = self.change @ swaps.astype(self.change.dtype)
        added = added.reshape(*self.start.shape[:-1], -1)
        first = self.start + added
        second = self.both - first
        terms = first[:, 0] / (self.support + first[:, 1])
        terms -= second[:, 0] / (self.support + second[:, 1])
        mean: np.ndarray = terms.sum(0) * (2.0 / len(terms))
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


def _hits_and_predicted(counts: np.ndarray) -> np.ndarray:
    """Return the correct and the predicted frames of each class: (S, U, 2, C) int64."""
    return np.stack([np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-2)], axis=2).astype(np.int64)


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
