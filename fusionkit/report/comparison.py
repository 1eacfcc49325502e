"""Two rows or cells against each other: overall and for each class, with intervals, tests and a sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from rich.table import Table
from rich.text import Text

from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.lookup import RowMatch, find_row, label
from fusionkit.grid.results import StoredRow, RunResults
from fusionkit.report.numbers import p_in_words, p_value, share, share_with_interval, signed_with_interval
from fusionkit.stats.intervals import (
    FEW_UNITS,
    Estimate,
    class_permutation_p,
    holm,
    interval,
    paired_difference,
    permutation_p,
)
from fusionkit.stats.per_class import class_differences, class_intervals

Verdict = Literal["a", "b", "neither"]
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Contrast:
    """Two scores on the same frames.

    Attributes:
        a: score of the first, with its interval.
        b: score of the second, with its interval.
        difference: the first less the second, with its interval.
        p: two-sided, of the unit-swap permutation test; over classes Holm-corrected; NaN where there is no test.
    """

    a: Estimate
    b: Estimate
    difference: Estimate
    p: float

    @property
    def rejected(self) -> bool:
        """Whether the test rejects, at 5 %, that both are alike."""
        return self.p <= ALPHA

    @property
    def leaves_out_zero(self) -> bool:
        """Whether the interval of the difference does not hold 0."""
        return self.difference.low > 0 or self.difference.high < 0

    @property
    def verdict(self) -> Verdict:
        """Which is better: said only where the test and the interval both say that there is a difference."""
        if not (self.rejected and self.leaves_out_zero):
            return "neither"
        return "a" if self.difference.value > 0 else "b"


@dataclass(frozen=True, eq=False)
class ClassContrast(Contrast):
    """The F1 of one class on both scored_rows.

    Attributes:
        name: of the class.
        n_units: units in whose truth it is.
        n_frames: frames in whose truth it is.
    """

    name: str
    n_units: int
    n_frames: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two scored_rows, a and b.

    Attributes:
        names: of both scored_rows.
        ids: short ids of both scored_rows.
        overall: their macro-F1.
        classes: their F1 of each class.
        seeds: of both scored_rows, in pairs.
        left_out: seeds that one side has and the other has not.
        n_frames: annotated frames.
    """

    names: tuple[str, str]
    ids: tuple[str, str]
    overall: Contrast
    classes: list[ClassContrast]
    seeds: tuple[list[int], list[int]]
    left_out: list[int]
    n_frames: int

    def sentence(self) -> str:
        """The result in words: which side beats the other, by how much, how surely."""
        (a, b), overall = self.names, self.overall
        p = p_in_words(overall.p)
        if overall.verdict == "neither":
            return f"cannot be told apart: {a} less {b} is {share_with_interval(overall.difference)}, {p}"
        if overall.verdict == "a":
            return f"{a} beats {b} by {share_with_interval(overall.difference)}, {p}"
        return f"{b} beats {a} by {share_with_interval(_turned(overall.difference))}, {p}"

    def class_sentences(self) -> list[str]:
        """For each side that is better on some class, on which."""
        found = []
        for side, name in zip(("a", "b"), self.names, strict=True):
            ahead = [each.name for each in self.classes if each.verdict == side]
            if ahead:
                found.append(f"{name} is better on {', '.join(ahead)}")
        return found or ["on no single class can they be told apart"]


def compare(results: RunResults, a: str, b: str) -> Comparison:
    """Compare two rows or cells of a run folder.

    Raises:
        ConfigError: if either stands for nothing or for several, or they were not tested on the same frames.
        DataError: if no seed of them is finished.
    """
    first, second = find_row(results.grid, a), find_row(results.grid, b)
    names = label(first, second), label(second, first)
    if (first.entry["id"], first.seed, first.fold) == (second.entry["id"], second.seed, second.fold):
        raise ConfigError(f"{a!r} and {b!r} are the same: {first.name} ({first.id})", hint="name two")
    # A cell of one fold is held against that fold of the other side.
    scored_rows = [_load(results, first, first.fold or second.fold), _load(results, second, second.fold or first.fold)]
    seeds, left_out = _paired_seeds((first, second), (scored_rows[0], scored_rows[1]), names)
    counts_a, counts_b = (
        np.stack([side.counts[seed] for seed in chosen]) for side, chosen in zip(scored_rows, seeds, strict=True)
    )
    if not np.array_equal(scored_rows[0].units, scored_rows[1].units) or not np.array_equal(
        counts_a.sum(-1), counts_b.sum(-1)
    ):
        raise ConfigError(f"{names[0]} and {names[1]} were not tested on the same frames", hint="there is no pairing")
    return Comparison(
        names=names,
        ids=(first.id, second.id),
        overall=Contrast(
            interval(counts_a),
            interval(counts_b),
            paired_difference(counts_a, counts_b),
            permutation_p(counts_a, counts_b),
        ),
        classes=_class_contrasts(counts_a, counts_b, _class_names(scored_rows[0])),
        seeds=seeds,
        left_out=left_out,
        n_frames=int(counts_a[0].sum()),
    )


def _turned(difference: Estimate) -> Estimate:
    """The difference taken the other way round."""
    return replace(difference, value=-difference.value, low=-difference.high, high=-difference.low)


def _load(results: RunResults, match: RowMatch, fold: str | None) -> StoredRow:
    record = match.entry
    cells = [cell for cell in record["cells"] if fold in (None, cell["fold"])]
    loaded = results.load({**record, "cells": cells})
    if not loaded.counts:
        why = next(iter(loaded.failures.values()), "")
        raise DataError(f"{match.name} has no finished seed" + (f": {why}" if why else ""), hint="bench it again")
    return loaded


def _paired_seeds(
    matches: tuple[RowMatch, RowMatch], scored_rows: tuple[StoredRow, StoredRow], names: tuple[str, str]
) -> tuple[tuple[list[int], list[int]], list[int]]:
    """The seeds of both scored_rows that go together, and those left out. A seed that one side names goes for both."""
    asked = [match.seed for match in matches]
    if asked == [None, None]:
        common = sorted(scored_rows[0].counts.keys() & scored_rows[1].counts.keys())
        if not common:
            raise DataError(f"{names[0]} and {names[1]} have no finished seed in common", hint="bench them again")
        return (common, common), sorted(scored_rows[0].counts.keys() ^ scored_rows[1].counts.keys())
    given = next(seed for seed in asked if seed is not None)
    chosen = [given if seed is None else seed for seed in asked]
    for seed, side, name in zip(chosen, scored_rows, names, strict=True):
        if seed not in side.counts:
            raise DataError(f"seed {seed} of {name} is not finished", hint="bench it again")
    return ([chosen[0]], [chosen[1]]), []


def _class_names(side: StoredRow) -> list[str]:
    return list(next(iter(side.cells.values())).info["per_class_f1"])


def _class_contrasts(a: np.ndarray, b: np.ndarray, names: list[str]) -> list[ClassContrast]:
    truth = a[0].sum(-1)
    columns = (
        class_intervals(a),
        class_intervals(b),
        class_differences(a, b),
        holm(class_permutation_p(a, b)).tolist(),
        names,
        (truth > 0).sum(0).tolist(),
        truth.sum(0).tolist(),
    )
    return [ClassContrast(*values) for values in zip(*columns, strict=True)]


def overall_table(comparison: Comparison) -> Table:
    """Macro-F1 of both scored_rows and their difference."""
    overall = comparison.overall
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "macro-F1 [95 %]", "", "id"):
        table.add_column(column, overflow="fold")
    for side, name, id_, score in zip("AB", comparison.names, comparison.ids, (overall.a, overall.b), strict=True):
        table.add_row(Text(side, style="bold"), share_with_interval(score), Text(name), Text(id_, style="dim"))
    table.add_row(
        Text("A - B", style="bold"), signed_with_interval(overall.difference), Text(p_in_words(overall.p)), ""
    )
    return table


def class_table(comparison: Comparison) -> Table:
    """F1 of each class on both scored_rows, with difference and corrected p."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", overflow="fold")
    for column in ("units", "frames", "F1 A", "F1 B", "A - B [95 %]", "p Holm"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in comparison.classes:
        table.add_row(*_cells(each), style="" if each.verdict == "neither" else "bold")
    return table


def _cells(each: ClassContrast) -> list[Text]:
    numbers = (share(each.a.value), share(each.b.value), signed_with_interval(each.difference), p_value(each.p))
    return [Text(text) for text in (each.name, f"{each.n_units:,}", f"{each.n_frames:,}", *numbers)]


def caption(comparison: Comparison) -> str:
    """What was compared, and how intervals and p were made."""
    return (
        f"test: {comparison.overall.a.n_units:,} units, {comparison.n_frames:,} frames; {_seeds(comparison)}; "
        "intervals: delete-one-unit jackknife with Student's t; p: unit-swap permutation, of this comparison alone; "
        "p Holm: corrected over the classes"
    )


def warnings(comparison: Comparison) -> list[str]:
    """What a reader must know before believing the sentence."""
    units, found = comparison.overall.a.n_units, []
    if comparison.overall.a.few_units:
        found.append(f"only {units} units were tested: intervals and tests are rough below {FEW_UNITS}")
    else:
        rare = [f"{each.name} ({each.n_units})" for each in comparison.classes if 0 < each.n_units < FEW_UNITS]
        if rare:
            found.append(f"intervals are rough for classes that few units show: {', '.join(rare)}")
    if comparison.overall.rejected != comparison.overall.leaves_out_zero:
        found.append("the test and the interval disagree on whether there is a difference: do not lean on it")
    if len(comparison.seeds[0]) == 1:
        found.append("one seed: what training anew would change is not in the intervals")
    if comparison.left_out:
        found.append(f"seeds that only one side has were left out: {', '.join(map(str, comparison.left_out))}")
    return found


def _seeds(comparison: Comparison) -> str:
    a, b = (", ".join(map(str, seeds)) for seeds in comparison.seeds)
    noun = "seed" if len(comparison.seeds[0]) == 1 else "seeds"
    return f"{noun} {a} of both" if a == b else f"{noun} {a} of A and {b} of B"
