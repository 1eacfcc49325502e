"""Significance of differences in macro-F1: one criterion for tables, comparisons, the answer and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from fusionkit.grid.axes import Axes
from fusionkit.grid.results import RunResults, StoredRow
from fusionkit.report.row_names import by_data
from fusionkit.stats.intervals import FEW_UNITS, Estimate, holm, jackknife_estimate, leave_one_out, permutation_p

Significance = Literal["best", "tied", "behind"]

ALPHA = 0.05
_PERMUTATIONS = 2_000
_PERMUTATIONS_PER_TEST = 25  # so that the smallest possible p stays below ALPHA after the correction for all tests


def is_significant(difference: Estimate, p: float) -> bool:
    """Return whether the test rejects at 5 % and the interval of the difference excludes 0: both are required."""
    return p <= ALPHA and excludes_zero(difference)


def beats(difference: Estimate, p: float) -> bool:
    """Return whether a difference is significant and positive: the first beats the second."""
    return difference.value > 0 and is_significant(difference, p)


def excludes_zero(difference: Estimate) -> bool:
    """Return whether 0 is outside of the interval; false without an interval."""
    return difference.low > 0 or difference.high < 0


def criterion(tests: str) -> str:
    """Return the criterion of :func:`is_significant` in words.

    Args:
        tests: the tests that p is corrected over.
    """
    return (
        f"the paired unit-swap permutation test rejects at 5 % (Holm-corrected over {tests}) and the 95 % jackknife-t "
        "interval of the difference (not corrected) excludes 0"
    )


def few_units_warnings(n_units: int) -> list[str]:
    """Return a warning if there are too few test units for accurate intervals and tests."""
    if n_units >= FEW_UNITS:
        return []
    return [f"only {n_units} units were tested: intervals and tests are inaccurate below {FEW_UNITS} units"]


RULE = (
    f"A row is behind if, compared with the best row of the same data, {criterion('all rows')}; otherwise it is tied. "
    "The best row is selected by the same scores, so its own score is biased upwards"
)


def row_significance(results: RunResults) -> dict[str, Significance]:
    """Compare each row with the best row of the same data set and split.

    Returns:
        By row id, for rows with a score; without rows that cannot be paired with the best row.
    """
    differences: dict[str, PairedDifference] = {}
    found: dict[str, Significance] = {}
    for group in by_data(scored_rows(results)).values():
        best = max(group, key=lambda row: row.score)
        found[best.id] = "best"
        compared = ((row, PairedDifference.of([best], [row])) for row in group if row is not best)
        differences |= {row.id: difference for row, difference in compared if difference}
    corrected = corrected_p(list(differences.values()), len(differences))
    for (row_id, paired), p in zip(differences.items(), corrected, strict=True):
        found[row_id] = "behind" if beats(paired.difference, p) else "tied"
    return found


def corrected_p(differences: Sequence[PairedDifference], tests: int) -> list[float]:
    """Return the Holm-corrected p of each difference.

    A difference with 0 in its interval is not tested: it cannot be significant, and its p is 1.

    Args:
        differences: differences of interest.
        tests: size of the family of tests, which may be larger: the others count as not rejected.
    """
    p = [each.p(tests) if excludes_zero(each.difference) else 1.0 for each in differences]
    return [float(value) for value in holm(np.array([*p, *[1.0] * (tests - len(p))]))[: len(p)]]


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """Mean difference of macro-F1 over K pairs of rows and S seeds.

    Attributes:
        a: K rows.
        b: K rows, each equal to its partner in every other setting.
        difference: macro-F1 of ``a`` minus that of ``b``, with its 95 % interval.
    """

    a: Sequence[RowScores]
    b: Sequence[RowScores]
    difference: Estimate
    _seeds: Sequence[int] = field(repr=False)

    @classmethod
    def of(cls, a: Sequence[RowScores], b: Sequence[RowScores]) -> PairedDifference | None:
        """Return the difference; None if the rows have different test frames or no finished seed in common.

        The K pairs are fixed, not a sample: the interval is over units and seeds.
        """
        seeds = paired_seeds([*a, *b])
        if not seeds:
            return None
        full_a, left_a = _mean(a, seeds)
        full_b, left_b = _mean(b, seeds)
        return cls(a, b, jackknife_estimate(full_a - full_b, left_a - left_b), seeds)

    def p(self, tests: int) -> float:
        """Return the two-sided p of swapping units between all of ``a`` and all of ``b`` at once.

        Args:
            tests: number of tests that p is corrected for; more tests need more permutations.
        """
        permutations = max(_PERMUTATIONS, _PERMUTATIONS_PER_TEST * tests)
        return permutation_p(self._stacked(self.a), self._stacked(self.b), permutations)

    def _stacked(self, rows: Sequence[RowScores]) -> np.ndarray:
        return np.stack([row.stored.counts[seed] for row in rows for seed in self._seeds])


@dataclass(frozen=True, eq=False)
class RowScores:
    """Macro-F1 of the finished seeds of a row."""

    stored: StoredRow

    @property
    def id(self) -> str:
        """Id of the row."""
        row_id: str = self.stored.entry["id"]
        return row_id

    @cached_property
    def axes(self) -> Axes:
        """Axes of the row."""
        return Axes(**self.stored.entry["axes"])

    @cached_property
    def jackknife(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """By seed: macro-F1 of all units, and (U,) without each of them."""
        counts = self.stored.counts
        full, left = leave_one_out(np.stack(list(counts.values())))
        return dict(zip(counts, zip(full, left, strict=True), strict=True))

    @property
    def score(self) -> float:
        """Mean macro-F1 over seeds."""
        return float(np.mean([full for full, _ in self.jackknife.values()]))

    @cached_property
    def _truth(self) -> np.ndarray:
        truth: np.ndarray = next(iter(self.stored.counts.values())).sum(-1)
        return truth

    def is_paired_with(self, other: RowScores) -> bool:
        """Return whether both rows were tested on the same units and frames."""
        return np.array_equal(self.stored.units, other.stored.units) and np.array_equal(self._truth, other._truth)


def scored_rows(results: RunResults) -> list[RowScores]:
    """Return the rows with a finished seed, in plan order."""
    stored = [results.load(entry) for entry in results.grid["rows"]]
    return [RowScores(row) for row in stored if row.counts]


def paired_seeds(rows: Sequence[RowScores]) -> list[int]:
    """Return the finished seeds that all rows have; empty if they were tested on different frames."""
    if not all(row.is_paired_with(rows[0]) for row in rows):
        return []
    return sorted(set.intersection(*(set(row.stored.counts) for row in rows)))


def _mean(rows: Sequence[RowScores], seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over rows of macro-F1: (S,), and without each unit, (S, U)."""
    full = np.array([[row.jackknife[seed][0] for seed in seeds] for row in rows])
    left = np.array([[row.jackknife[seed][1] for seed in seeds] for row in rows])
    return full.mean(0), left.mean(0)
