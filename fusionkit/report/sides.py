"""Rows as sides of comparisons: any of them against any other, on the seeds, units and frames that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fusionkit.grid.axes import Axes
from fusionkit.report.results import Loaded, Results
from fusionkit.stats import Estimate, jackknife_estimate, leave_one_out, permutation_p

_DRAWS = 2_000
_DRAWS_A_TEST = 25  # so that the smallest p that can be drawn outlives the correction for that many tests


@dataclass(frozen=True, eq=False)
class Side:
    """The finished seeds of a row.

    Attributes:
        id: of the row.
        axes: where it stands.
        loaded: its counts by seed.
    """

    id: str
    axes: Axes
    loaded: Loaded

    @cached_property
    def left_out(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """By seed: macro-F1 of all units, and (U,) without each of them."""
        counts = self.loaded.counts
        full, left = leave_one_out(np.stack(list(counts.values())))
        return dict(zip(counts, zip(full, left, strict=True), strict=True))

    @cached_property
    def _truth(self) -> np.ndarray:
        truth: np.ndarray = next(iter(self.loaded.counts.values())).sum(-1)
        return truth

    def is_paired_with(self, other: Side) -> bool:
        """Whether both were tested on the same units and frames."""
        return np.array_equal(self.loaded.units, other.loaded.units) and np.array_equal(self._truth, other._truth)


@dataclass(frozen=True, eq=False)
class Lead:
    """What one side has over another: the mean over K pairs of rows and S seeds.

    Attributes:
        a: K rows.
        b: K rows, each alike to its partner in all that is not compared.
        difference: macro-F1 of ``a`` less that of ``b``, with its 95 % interval.
    """

    a: Sequence[Side]
    b: Sequence[Side]
    difference: Estimate
    _seeds: Sequence[int] = field(repr=False)

    @classmethod
    def of(cls, a: Sequence[Side], b: Sequence[Side]) -> Lead | None:
        """None where they were not tested on the same frames, or have no finished seed in common.

        The K pairs are the ones that are asked about, not a sample: only units and seeds make the interval.
        """
        sides = [*a, *b]
        seeds = sorted(set.intersection(*(set(side.loaded.counts) for side in sides)))
        if not seeds or not all(side.is_paired_with(sides[0]) for side in sides[1:]):
            return None
        full_a, left_a = _mean(a, seeds)
        full_b, left_b = _mean(b, seeds)
        return cls(a, b, jackknife_estimate(full_a - full_b, left_a - left_b), seeds)

    @property
    def leaves_out_zero(self) -> bool:
        """Whether the interval says that there is a difference."""
        return self.difference.low > 0 or self.difference.high < 0

    def p(self, tests: int) -> float:
        """Two-sided, by swapping units between all of ``a`` and all of ``b`` at once; one of so many tests."""
        draws = max(_DRAWS, _DRAWS_A_TEST * tests)
        return permutation_p(self._stacked(self.a), self._stacked(self.b), draws)

    def _stacked(self, sides: Sequence[Side]) -> np.ndarray:
        return np.stack([side.loaded.counts[seed] for side in sides for seed in self._seeds])


def sides(results: Results) -> list[Side]:
    """The rows with a finished seed, in plan order."""
    records: list[dict[str, Any]] = results.grid["families"]
    loaded = [(record, results.load(record)) for record in records]
    return [Side(record["id"], Axes(**record["axes"]), found) for record, found in loaded if found.counts]


def _mean(sides: Sequence[Side], seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over rows of macro-F1: (S,), and without each unit, (S, U)."""
    full = np.array([[side.left_out[seed][0] for seed in seeds] for side in sides])
    left = np.array([[side.left_out[seed][1] for seed in seeds] for side in sides])
    return full.mean(0), left.mean(0)
