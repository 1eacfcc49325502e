"""Estimates of scores and differences of the rows of a run folder, over units and seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from fusionkit.contracts.task import Task
from fusionkit.grid.axes import Axes
from fusionkit.grid.folder import StoredCell
from fusionkit.registry import TASKS
from fusionkit.registry.spec import Spec
from fusionkit.stats.bootstrap import bootstrap_estimate
from fusionkit.stats.crossed import Estimate, SeedPrior, SeedVariance, estimate, sum_of
from fusionkit.stats.intervals import leave_one_out_scores, part_permutation_p, permutation_p

Test = Literal["crossed", "bootstrap", "permutation"]

METRIC = 0  # index of the metric in the statistics of a row; the scores of the parts follow, in their order
_PERMUTATIONS = 10_000


@dataclass(frozen=True, eq=False)
class StoredRow:
    """Stored data of a row.

    Attributes:
        entry: the row as in ``grid.json``.
        cells: finished cells by seed and fold.
        counts: (U, *shape) by seed, over all folds, what the task counts; only complete seeds.
        units: (U,) tested units (subjects or videos).
        failures: message by cell id.
    """

    entry: dict[str, Any]
    cells: dict[tuple[int, str], StoredCell]
    counts: dict[int, np.ndarray]
    units: np.ndarray
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Id of the row."""
        row_id: str = self.entry["id"]
        return row_id

    @cached_property
    def axes(self) -> Axes:
        """Axes of the row."""
        return Axes(**self.entry["axes"])

    @cached_property
    def task(self) -> Task:
        """The prediction task; without parts if no cell is finished."""
        names = list(next((cell.info["scores"] for cell in self.cells.values()), ()))
        task: Task = TASKS.build(Spec.parse(self.axes.task), names=names)
        return task

    @property
    def seeds(self) -> list[int]:
        """Complete seeds."""
        return sorted(self.counts)

    @property
    def score(self) -> float:
        """Mean metric over seeds."""
        return float(np.mean([full[METRIC] for full, _ in self.statistics.values()]))

    @cached_property
    def statistics(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """By seed: the metric and the score of each part, (1 + K,) of all units, (U, 1 + K) without each of them."""
        full, left = leave_one_out_scores(self.task, np.stack(list(self.counts.values())))
        return dict(zip(self.counts, zip(full, left, strict=True), strict=True))

    @cached_property
    def truth(self) -> np.ndarray:
        """What of the counts of each unit depends on labels alone, (U, T)."""
        return self.task.truth(next(iter(self.counts.values())))

    @cached_property
    def support(self) -> np.ndarray:
        """Frames (U, K) by which each part can be scored."""
        return self.task.support(next(iter(self.counts.values())))

    def is_paired_with(self, other: StoredRow) -> bool:
        """Return whether both rows were tested on the same task, units and frames."""
        return (
            self.axes.task == other.axes.task
            and np.array_equal(self.units, other.units)
            and np.array_equal(self.truth, other.truth)
        )

    @property
    def heads(self) -> tuple[str, ...]:
        """Ids of the heads of the row; rows that differ in their smoother share them, and vary with the same seeds."""
        return tuple(sorted(head for cell in self.entry["cells"] for head in cell["heads"].values()))


@dataclass(frozen=True, eq=False)
class Term:
    """A row in a weighted sum, with the seeds that are used of it, in the order in which seeds are paired."""

    row: StoredRow
    weight: float
    seeds: Sequence[int]

    @property
    def counts(self) -> np.ndarray:
        """Counts (S, U, *shape)."""
        return np.stack([self.row.counts[seed] for seed in self.seeds])

    def series(self, statistic: int) -> np.ndarray:
        """Return the weighted statistic of each seed, (S,)."""
        return self.weight * np.array([self.row.statistics[seed][0][statistic] for seed in self.seeds])

    def left_out(self, statistic: int) -> np.ndarray:
        """Return the weighted statistic of each seed without each unit, (S, U)."""
        return self.weight * np.array([self.row.statistics[seed][1][:, statistic] for seed in self.seeds])


_Data = tuple[str, str, str]  # data set, split and task, on which rows are comparable
_Pattern = tuple[tuple[str, float], ...]  # smoothers of rows that share their heads, with their weights


class Contrasts:
    """Estimates of scores, and of differences between rows, with one inference for intervals and tests.

    Seeds of different heads are independent; rows that share their heads vary together. The variance between seeds of
    each head is moved towards that of the other heads on the same data (:class:`fusionkit.stats.crossed.SeedPrior`).

    Args:
        rows: with a finished seed.
        test: as of :class:`fusionkit.grid.results.RunResults`.
    """

    def __init__(self, rows: Iterable[StoredRow], test: Test = "crossed") -> None:
        self.test = test
        self._heads: dict[_Data, dict[tuple[str, ...], dict[str, StoredRow]]] = {}
        for row in rows:
            data = self._heads.setdefault(_data(row), {})
            data.setdefault(row.heads, {})[row.axes.smoother] = row
        self._priors: dict[tuple[_Data, _Pattern, int], SeedPrior] = {}

    def score(self, row: StoredRow, statistic: int = METRIC, seeds: Sequence[int] | None = None) -> Estimate:
        """Estimate a statistic of a row over its seeds, or over some of them."""
        return self._estimate([Term(row, 1.0, seeds or row.seeds)], statistic)

    def seed_sd(self, row: StoredRow) -> tuple[float, float]:
        """Return the standard deviation of the metric over seeds: of the row's, and moderated; NaN for one seed."""
        if len(row.seeds) < 2:
            return float("nan"), float("nan")
        term, n_seeds = Term(row, 1.0, row.seeds), len(row.seeds)
        own, moderated = SeedVariance.of(term.series(METRIC)), self._seed_variance([term], METRIC)
        assert moderated is not None
        return (own.of_mean * n_seeds) ** 0.5, (moderated.of_mean * n_seeds) ** 0.5

    def difference(
        self, a: Sequence[StoredRow], b: Sequence[StoredRow], seeds: Sequence[Sequence[int]] | None = None
    ) -> Estimate | None:
        """Estimate the mean difference in the metric over K pairs of rows.

        The K pairs are fixed, not a sample: the interval is over units and seeds.

        Args:
            a: K rows.
            b: K rows.
            seeds: of each row of ``a``, then of each of ``b``. Default: the seeds that all of them have.

        Returns:
            None if the rows have different test frames or no finished seed in common.
        """
        found = self.differences(a, b, seeds, [METRIC])
        return found[0] if found else None

    def differences(
        self,
        a: Sequence[StoredRow],
        b: Sequence[StoredRow],
        seeds: Sequence[Sequence[int]] | None = None,
        statistics: Sequence[int] | None = None,
    ) -> list[Estimate] | None:
        """Estimate the mean difference in several statistics; arguments as for :meth:`difference`.

        Args:
            a: K rows.
            b: K rows.
            seeds: as there.
            statistics: indices. Default: the metric, then each part.
        """
        rows = [*a, *b]
        if seeds is None:
            seeds = [paired_seeds(rows)] * len(rows)
        if not seeds[0]:
            return None
        weights = [1 / len(a)] * len(a) + [-1 / len(b)] * len(b)
        terms = [Term(*each) for each in zip(rows, weights, seeds, strict=True)]
        statistics = range(1 + rows[0].support.shape[1]) if statistics is None else statistics
        found = [self._estimate(terms, each) for each in statistics]
        if self.test != "permutation":
            return found
        swapped = _swapped(terms[: len(a)], terms[len(a) :], with_parts=len(statistics) > 1)
        return [replace(each, p=float(swapped[index])) for each, index in zip(found, statistics, strict=True)]

    def _estimate(self, terms: Sequence[Term], statistic: int) -> Estimate:
        task = terms[0].row.task
        within = (task.least, 1.0) if len(terms) == 1 else (task.least - 1, 1 - task.least)
        if self.test == "bootstrap":
            return bootstrap_estimate(task, [(term.weight, term.counts) for term in terms], statistic)
        full = np.sum([term.series(statistic) for term in terms], 0)
        left = np.sum([term.left_out(statistic) for term in terms], 0)
        if self.test == "permutation":
            found = estimate(full.mean(keepdims=True), left.mean(0, keepdims=True), within=within)
            return replace(found, n_seeds=len(full))
        return estimate(full, left, within=within, seeds=self._seed_variance(terms, statistic))

    def _seed_variance(self, terms: Sequence[Term], statistic: int) -> SeedVariance | None:
        """Return the moderated variance of a sum of rows over its seeds; None for one seed."""
        n_seeds = len(terms[0].seeds)
        if n_seeds < 2:
            return None
        parts, priors = [], {}
        for group in _by_heads(terms):
            own = SeedVariance.of(np.sum([term.series(statistic) for term in group], 0))
            key = _data(group[0].row), _pattern(group), statistic
            if key not in self._priors:
                self._priors[key] = self._prior(*key)
            priors[key] = self._priors[key]
            parts.append(priors[key].moderated(own, n_seeds))
        return sum_of(parts, sum(prior.total for prior in priors.values()))

    def _prior(self, data: _Data, pattern: _Pattern, statistic: int) -> SeedPrior:
        """Return the prior of the variance of one seed, from all heads that have rows with these smoothers."""
        variances, df = [], []
        for rows in self._heads.get(data, {}).values():
            members = [rows[smoother] for smoother, _ in pattern if smoother in rows]
            seeds = paired_seeds(members) if len(members) == len(pattern) else []
            if len(seeds) < 2:
                continue
            weighted = zip(members, (weight for _, weight in pattern), strict=True)
            values = np.sum([Term(row, weight, seeds).series(statistic) for row, weight in weighted], 0)
            if variance := float(values.var(ddof=1)):  # 0: a fusion without random draws
                variances.append(variance)
                df.append(len(seeds) - 1.0)
        return SeedPrior.of(variances, df)


def _data(row: StoredRow) -> _Data:
    return row.axes.dataset, row.axes.split, row.axes.task


def paired_seeds(rows: Sequence[StoredRow]) -> list[int]:
    """Return the finished seeds that all rows have; empty if they were tested on different frames."""
    if not all(row.is_paired_with(rows[0]) for row in rows):
        return []
    return sorted(set.intersection(*(set(row.counts) for row in rows)))


def _by_heads(terms: Sequence[Term]) -> list[list[Term]]:
    """Return the terms in groups that vary together: those of the same heads and seeds."""
    groups: dict[tuple[tuple[str, ...], tuple[int, ...]], list[Term]] = {}
    for term in terms:
        groups.setdefault((term.row.heads, tuple(term.seeds)), []).append(term)
    return list(groups.values())


def _pattern(group: Sequence[Term]) -> _Pattern:
    weights: dict[str, float] = {}
    for term in group:
        weights[term.row.axes.smoother] = weights.get(term.row.axes.smoother, 0.0) + term.weight
    ordered = sorted(weights.items())
    sign = -1.0 if ordered[0][1] < 0 else 1.0  # a difference has the variance of its negative
    return tuple((smoother, sign * weight) for smoother, weight in ordered)


def _swapped(a: Sequence[Term], b: Sequence[Term], *, with_parts: bool) -> np.ndarray:
    """Return the p of swapping units: of the metric, then of each part if asked for."""
    first, second = (np.concatenate([term.counts for term in terms]) for terms in (a, b))
    task = a[0].row.task
    p = [permutation_p(task, first, second, _PERMUTATIONS)]
    return np.array(p + (part_permutation_p(task, first, second, _PERMUTATIONS).tolist() if with_parts else []))
