"""Comparison of two rows or cells: overall and per class, with intervals, tests and a sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from rich.table import Table
from rich.text import Text

from fusionkit.contracts.task import Task
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.contrasts import Contrasts, StoredRow
from fusionkit.grid.lookup import RowMatch, find_row, label
from fusionkit.grid.results import RunResults
from fusionkit.report.numbers import p_in_words, p_value, share, share_with_interval, signed_with_interval
from fusionkit.report.significance import ALPHA, METHODS, ONE_SEED, few_seeds_warnings, few_units_warnings
from fusionkit.report.table import as_text, new_table
from fusionkit.stats.crossed import Estimate
from fusionkit.stats.intervals import FEW_UNITS, holm

Verdict = Literal["a", "b", "tied"]


@dataclass(frozen=True, eq=False)
class Contrast:
    """Two scores on the same frames.

    Attributes:
        a: first score, with its interval.
        b: second score, with its interval.
        difference: the first minus the second, with its interval.
        p: two-sided p of the difference, Holm-corrected over classes; NaN with one seed.
    """

    a: Estimate
    b: Estimate
    difference: Estimate
    p: float

    @property
    def verdict(self) -> Verdict:
        """Which score is significantly higher; ``tied`` if neither is."""
        if not self.p <= ALPHA:
            return "tied"
        return "a" if self.difference.value > 0 else "b"


@dataclass(frozen=True, eq=False)
class ClassContrast(Contrast):
    """Score of one part of the task, such as the F1 of a class, in both rows.

    Attributes:
        name: of the part.
        n_units: number of units with frames by which the part can be scored.
        n_frames: number of these frames.
    """

    name: str
    n_units: int
    n_frames: int


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Comparison of two rows, a and b.

    Attributes:
        names: names of both rows.
        ids: short ids of both rows.
        task: the prediction task.
        overall: metric of the task.
        classes: score of each part of the task.
        seeds: paired seeds of both rows.
        left_out: seeds that only one row has finished.
        n_frames: number of annotated frames, or of clips if they are what is scored.
        scored: what is scored, ``frames`` or ``clips``.
        method: of intervals and p, in words.
        limits: of the numbers by the number of seeds, one line each.
    """

    names: tuple[str, str]
    ids: tuple[str, str]
    task: Task
    overall: Contrast
    classes: list[ClassContrast]
    seeds: tuple[list[int], list[int]]
    left_out: list[int]
    n_frames: int
    scored: str
    method: str
    limits: list[str]

    def __repr__(self) -> str:
        """Return the tables, the sentences, the caption and the warnings as text."""
        lines = [self.sentence(), *self.class_sentences(), caption(self)]
        return as_text([overall_table(self), class_table(self)], lines, warnings(self))

    def sentence(self) -> str:
        """Return the result: which row beats the other, by how much, with p."""
        (a, b), difference = self.names, self.overall.difference
        if np.isnan(self.overall.p):
            return (
                f"{a} minus {b}: {signed_with_interval(difference)}, of one trained model each; no claim about methods"
            )
        p = p_in_words(self.overall.p)
        if self.overall.verdict == "tied":
            return f"{a} is not significantly different from {b}: {signed_with_interval(difference)}, {p}"
        if self.overall.verdict == "a":
            return f"{a} beats {b} by {share_with_interval(difference)}, {p}"
        negated = replace(difference, value=-difference.value, low=-difference.high, high=-difference.low)
        return f"{b} beats {a} by {share_with_interval(negated)}, {p}"

    def class_sentences(self) -> list[str]:
        """Return a sentence for each row that is significantly better on some class, with these classes."""
        if np.isnan(self.overall.p):
            return []
        found = []
        for side, name in zip(("a", "b"), self.names, strict=True):
            better = [each.name for each in self.classes if each.verdict == side]
            if better:
                found.append(f"{name} is significantly better on {', '.join(better)}")
        return found or [f"no single {self.task.part} differs significantly"]


def compare(results: RunResults, a: str, b: str) -> Comparison:
    """Compare two rows or cells of a run folder; a cell of one fold is compared with that fold of the other row.

    Args:
        results: results of the run folder.
        a: id or name of the first row, see :func:`fusionkit.grid.lookup.find_row`.
        b: id or name of the second row.

    Raises:
        ConfigError: if a name matches no row or several rows, or the rows have different test frames.
        DataError: if no seed of them is finished.
    """
    first, second = find_row(results.grid, a), find_row(results.grid, b)
    names = label(first, second), label(second, first)
    if (first.entry["id"], first.seed, first.fold) == (second.entry["id"], second.seed, second.fold):
        raise ConfigError(f"{a!r} and {b!r} are the same: {first.name} ({first.id})", hint="name two different rows")
    stored = (_load(results, first, first.fold or second.fold), _load(results, second, second.fold or first.fold))
    seeds, left_out = _paired_seeds((first, second), stored, names)
    if not stored[0].is_paired_with(stored[1]):
        raise ConfigError(
            f"{names[0]} and {names[1]} were not tested on the same frames", hint="only paired scores are compared"
        )
    # Of one fold, the other rows of the grid are no measure: they are scored on all folds.
    whole = first.fold is None and second.fold is None
    contrasts = results.contrasts if whole else Contrasts(stored, results.test)
    one_seed = len(seeds[0]) == 1 and results.test != "permutation"
    overall, *classes = _contrasts(contrasts, stored, seeds)
    return Comparison(
        names=names,
        ids=(first.id, second.id),
        task=stored[0].task,
        overall=overall,
        classes=_class_contrasts(stored[0], classes),
        seeds=seeds,
        left_out=left_out,
        n_frames=_frames(stored[0]),
        scored=stored[0].axes.scored,
        method=ONE_SEED if one_seed else METHODS[results.test],
        limits=few_seeds_warnings(len(seeds[0]), results.test),
    )


def overall_table(comparison: Comparison) -> Table:
    """Return the metric of both rows and their difference as a table."""
    overall = comparison.overall
    table = new_table()
    for column in ("", f"{comparison.task.metric_name} [95 %]", "", "id"):
        table.add_column(column, overflow="fold")
    for side, name, id_, score in zip("AB", comparison.names, comparison.ids, (overall.a, overall.b), strict=True):
        table.add_row(Text(side, style="bold"), share_with_interval(score), Text(name), Text(id_, style="dim"))
    table.add_row(
        Text("A - B", style="bold"), signed_with_interval(overall.difference), Text(p_in_words(overall.p)), ""
    )
    return table


def class_table(comparison: Comparison) -> Table:
    """Return the score of each part in both rows, the difference and the corrected p as a table."""
    table = new_table()
    score = comparison.task.score
    table.add_column(comparison.task.part, overflow="fold")
    for column in ("units", comparison.scored, f"{score} A", f"{score} B", "A - B [95 %]", "p Holm"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in comparison.classes:
        numbers = (share(each.a.value), share(each.b.value), signed_with_interval(each.difference), p_value(each.p))
        texts = (each.name, f"{each.n_units:,}", f"{each.n_frames:,}", *numbers)
        table.add_row(*map(Text, texts), style="" if each.verdict == "tied" else "bold")
    return table


def caption(comparison: Comparison) -> str:
    """Return what was compared, and the methods of intervals and p."""
    a, b = (", ".join(map(str, seeds)) for seeds in comparison.seeds)
    noun = "seed" if len(comparison.seeds[0]) == 1 else "seeds"
    seeds = f"{noun} {a} of both" if a == b else f"{noun} {a} of A and {b} of B"
    counts = f"{comparison.overall.a.n_units:,} units (subjects or videos), {comparison.n_frames:,} {comparison.scored}"
    holm = f"p: not corrected; p Holm: Holm-corrected over the {comparison.task.parts}"
    return f"test: {counts}; {seeds}; {comparison.method}; {holm}"


def warnings(comparison: Comparison) -> list[str]:
    """Return limits of the numbers, one line each."""
    overall = comparison.overall
    found = few_units_warnings(overall.a.n_units)
    if not found:
        rare = [f"{each.name} ({each.n_units})" for each in comparison.classes if 0 < each.n_units < FEW_UNITS]
        if rare:
            parts = f"{comparison.task.parts} in fewer than {FEW_UNITS} units"
            found.append(f"intervals are inaccurate for {parts}: {', '.join(rare)}")
    found += comparison.limits
    if comparison.left_out:
        found.append(f"seeds finished in one row only were left out: {', '.join(map(str, comparison.left_out))}")
    return found


def _load(results: RunResults, match: RowMatch, fold: str | None) -> StoredRow:
    cells = [cell for cell in match.entry["cells"] if fold in (None, cell["fold"])]
    stored = results.load({**match.entry, "cells": cells}) if fold else results.stored[match.entry["id"]]
    if not stored.counts:
        cause = next(iter(stored.failures.values()), "")
        raise DataError(f"{match.name} has no finished seed" + (f": {cause}" if cause else ""), hint="bench it again")
    return stored


def _paired_seeds(
    matches: tuple[RowMatch, RowMatch], stored: tuple[StoredRow, StoredRow], names: tuple[str, str]
) -> tuple[tuple[list[int], list[int]], list[int]]:
    """Return the paired seeds of both rows and those left out; a seed given for one row applies to both."""
    given = [match.seed for match in matches]
    if given == [None, None]:
        common = sorted(stored[0].counts.keys() & stored[1].counts.keys())
        if not common:
            raise DataError(f"{names[0]} and {names[1]} have no finished seed in common", hint="bench them again")
        return (common, common), sorted(stored[0].counts.keys() ^ stored[1].counts.keys())
    default = next(seed for seed in given if seed is not None)
    chosen = [default if seed is None else seed for seed in given]
    for seed, row, name in zip(chosen, stored, names, strict=True):
        if seed not in row.counts:
            raise DataError(f"seed {seed} of {name} is not finished", hint="bench it again")
    return ([chosen[0]], [chosen[1]]), []


def _contrasts(
    contrasts: Contrasts, rows: tuple[StoredRow, StoredRow], seeds: tuple[list[int], list[int]]
) -> list[Contrast]:
    """Return the contrasts of the metric, then of the score of each part, not corrected."""
    differences = contrasts.differences([rows[0]], [rows[1]], seeds)
    assert differences is not None
    found = []
    for statistic, difference in enumerate(differences):
        a, b = (contrasts.score(row, statistic, own) for row, own in zip(rows, seeds, strict=True))
        found.append(Contrast(a, b, difference, difference.p))
    return found


def _frames(row: StoredRow) -> int:
    """Return the number of annotated test frames."""
    seed = row.seeds[0]
    return sum(cell.info["n_frames"] for (own, _), cell in row.cells.items() if own == seed)


def _class_contrasts(row: StoredRow, contrasts: list[Contrast]) -> list[ClassContrast]:
    corrected = holm(np.array([each.p for each in contrasts]))
    columns = zip(
        contrasts, corrected.tolist(), row.task.names, (row.support > 0).sum(0), row.support.sum(0), strict=True
    )
    return [
        ClassContrast(each.a, each.b, each.difference, p, name, int(units), int(frames))
        for each, p, name, units, frames in columns
    ]
