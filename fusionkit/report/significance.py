"""Rows as scored_rows of comparisons: any of them against any other, on the seeds, units and frames that both have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from fusionkit.grid.axes import Axes
from fusionkit.grid.results import StoredRow, RunResults
from fusionkit.stats.intervals import Estimate, holm, jackknife_estimate, leave_one_out, permutation_p

_DRAWS = 2_000
_DRAWS_A_TEST = 25  # so that the smallest p that can be drawn outlives the correction for that many tests


@dataclass(frozen=True, eq=False)
class RowScores:
    """The finished seeds of a row.

    Attributes:
        id: of the row.
        axes: where it stands.
        loaded: its counts by seed.
    """

    id: str
    axes: Axes
    loaded: StoredRow

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

    def is_paired_with(self, other: RowScores) -> bool:
        """Whether both were tested on the same units and frames."""
        return np.array_equal(self.loaded.units, other.loaded.units) and np.array_equal(self._truth, other._truth)


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """What one side has over another: the mean over K pairs of rows and S seeds.

    Attributes:
        a: K rows.
        b: K rows, each alike to its partner in all that is not compared.
        difference: macro-F1 of ``a`` less that of ``b``, with its 95 % interval.
    """

    a: Sequence[RowScores]
    b: Sequence[RowScores]
    difference: Estimate
    _seeds: Sequence[int] = field(repr=False)

    @classmethod
    def of(cls, a: Sequence[RowScores], b: Sequence[RowScores]) -> PairedDifference | None:
        """None where they were not tested on the same frames, or have no finished seed in common.

        The K pairs are the ones that are asked about, not a sample: only units and seeds make the interval.
        """
        scored_rows = [*a, *b]
        seeds = sorted(set.intersection(*(set(side.loaded.counts) for side in scored_rows)))
        if not seeds or not all(side.is_paired_with(scored_rows[0]) for side in scored_rows[1:]):
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

    def _stacked(self, scored_rows: Sequence[RowScores]) -> np.ndarray:
        return np.stack([side.loaded.counts[seed] for side in scored_rows for seed in self._seeds])


def scored_rows(results: RunResults) -> list[RowScores]:
    """The rows with a finished seed, in plan order."""
    records: list[dict[str, Any]] = results.grid["rows"]
    loaded = [(record, results.load(record)) for record in records]
    return [RowScores(record["id"], Axes(**record["axes"]), found) for record, found in loaded if found.counts]


def _mean(scored_rows: Sequence[RowScores], seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean over rows of macro-F1: (S,), and without each unit, (S, U)."""
    full = np.array([[side.left_out[seed][0] for seed in seeds] for side in scored_rows])
    left = np.array([[side.left_out[seed][1] for seed in seeds] for side in scored_rows])
    return full.mean(0), left.mean(0)


Significance = Literal["best", "level", "behind"]
ALPHA = 0.05
RULE = (
    "Behind is a row where the paired unit-swap permutation test against the best row of the same data rejects at 5 %, "
    "Holm-corrected over all rows, and the 95 % jackknife interval of the difference leaves out 0. The best row was "
    "picked by these same scores, so its own is on the high side"
)


def row_significance(results: RunResults) -> dict[str, Significance]:
    """By id of each row with a score; rows that cannot be paired with the best of their data are not among them."""
    groups: dict[tuple[str, str], list[RowScores]] = {}
    for side in scored_rows(results):
        groups.setdefault((side.axes.dataset, side.axes.split), []).append(side)
    scores = {row.id: row.score.value for row in results.rows if row.score}
    differences: dict[str, PairedDifference] = {}
    found: dict[str, Significance] = {}
    for group in groups.values():
        best = max(group, key=lambda side: scores[side.id])
        found[best.id] = "best"
        paired = ((side, PairedDifference.of([best], [side])) for side in group if side is not best)
        differences |= {side.id: difference for side, difference in paired if difference}
    corrected = holm_of(
        [difference.p(len(differences)) if difference.leaves_out_zero else 1.0 for difference in differences.values()],
        len(differences),
    )
    for (row, difference), p in zip(differences.items(), corrected, strict=True):
        found[row] = "behind" if p <= ALPHA and difference.difference.value > 0 else "level"
    return found


def holm_of(p: list[float], tests: int) -> list[float]:
    """Holm-corrected p of some of so many tests; those that were not carried out count as not rejected."""
    return [float(value) for value in holm(np.array([*p, *[1.0] * (tests - len(p))]))[: len(p)]]
