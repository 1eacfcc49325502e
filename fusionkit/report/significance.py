"""Significance of differences in the metric: one criterion for tables, comparisons, the answer and the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fusionkit.grid.contrasts import Test
from fusionkit.grid.results import RunResults
from fusionkit.report.row_names import by_data
from fusionkit.stats.crossed import Estimate
from fusionkit.stats.intervals import FEW_UNITS, holm

Significance = Literal["best", "tied", "behind"]

ALPHA = 0.05
FEW_SEEDS = 3  # below this many seeds, differences of methods get a warning

METHODS: dict[Test, str] = {
    "crossed": "intervals and p: jackknife-t over units and seeds, seed variance moderated over rows",
    "bootstrap": "intervals and p: percentile bootstrap of units and seeds",
    "permutation": "these trained models, seeds not sampled: intervals by jackknife-t over units, p by swapping units",
}
ONE_SEED = "intervals: jackknife-t over units, of one trained model"


def beats(difference: Estimate, p: float) -> bool:
    """Return whether a difference is positive and significant at 5 %; false without a p."""
    return difference.value > 0 and p <= ALPHA


def excludes_zero(difference: Estimate) -> bool:
    """Return whether 0 is outside of the interval; false without an interval."""
    return difference.low > 0 or difference.high < 0


def method(results: RunResults) -> str:
    """Return the method of intervals and p in words; with one seed there is no p."""
    return METHODS[results.test] if has_claims(results) else ONE_SEED


def has_claims(results: RunResults) -> bool:
    """Return whether differences can be tested: a row has two seeds, or the test is of trained models."""
    return results.test == "permutation" or max((len(row.seeds) for row in results.scored), default=0) > 1


def criterion(results: RunResults, tests: str) -> str:
    """Return when a difference is significant, in words.

    Args:
        results: of the run folder.
        tests: the tests that p is corrected over.
    """
    of = "of these trained models, by swapping units" if results.test == "permutation" else "over units and seeds"
    return f"p is at most .05 ({of}; Holm-corrected over {tests})"


def rule(results: RunResults) -> str:
    """Return what marks the rows of a table as best, tied or behind, without a full stop."""
    if not has_claims(results):
        return (
            "The best row is the highest of this table and was picked by it, so its score is biased upwards. One seed "
            "makes no claim about a method, so no row is marked as behind; add --seeds 3"
        )
    return (
        f"A row is behind if, compared with the best row of the same data, {criterion(results, 'all pairs of rows')}; "
        "otherwise it is tied. The best row was picked as the highest, so its own score is biased upwards"
    )


def few_units_warnings(n_units: int) -> list[str]:
    """Return a warning if there are too few test units for accurate intervals and tests."""
    if n_units >= FEW_UNITS:
        return []
    return [f"only {n_units} units were tested: intervals and tests are inaccurate below {FEW_UNITS} units"]


def few_seeds_warnings(n_seeds: int, test: Test) -> list[str]:
    """Return a warning if there are too few seeds for claims about a method.

    Args:
        n_seeds: least number of seeds of a row.
        test: of the results.
    """
    if n_seeds >= FEW_SEEDS or test == "permutation":
        return []
    if n_seeds == 1:
        advice = f"run at least {FEW_SEEDS} seeds (--seeds {FEW_SEEDS}) to compare methods"
        return [f"one seed: intervals are of one trained model, and no difference is claimed; {advice}"]
    limit = "with hundreds of units they are too narrow, and up to twice as many differences are claimed as should be"
    advice = f"run {FEW_SEEDS} or more seeds (--seeds {FEW_SEEDS})"
    return [f"{n_seeds} seeds: intervals rely on the other rows; {limit}; {advice}"]


def row_significance(results: RunResults) -> dict[str, Significance]:
    """Compare each row with the best row of the same data set and split.

    Returns:
        By row id, for rows with a score; without rows that cannot be compared with the best row: with one seed, or on
        other frames.
    """
    differences: dict[str, Estimate] = {}
    found: dict[str, Significance] = {}
    tests = 0
    for group in by_data(results.scored).values():
        best = max(group, key=lambda row: row.score)
        found[best.id] = "best"
        tests += len(group) * (len(group) - 1) // 2  # the best was picked: any pair could have been compared
        for row in group:
            difference = results.contrasts.difference([best], [row]) if row is not best else None
            if difference and not np.isnan(difference.p):
                differences[row.id] = difference
    corrected = corrected_p(list(differences.values()), max(tests, len(differences)))
    for (row_id, difference), p in zip(differences.items(), corrected, strict=True):
        found[row_id] = "behind" if beats(difference, p) else "tied"
    return found


def corrected_p(differences: Sequence[Estimate], tests: int) -> list[float]:
    """Return the Holm-corrected p of each difference; NaN without a p.

    Args:
        differences: differences of interest.
        tests: size of the family of tests, which may be larger: the others count as not rejected.
    """
    p = [each.p for each in differences]
    return [float(value) for value in holm(np.array([*p, *[1.0] * (tests - len(p))]))[: len(p)]]
