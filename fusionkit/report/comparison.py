"""Two families or cells against each other: overall and for each class, with intervals, tests and a sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fusionkit.class_stats import class_differences, class_intervals
from fusionkit.errors import ConfigError, DataError
from fusionkit.report.address import Address, find, label
from fusionkit.report.numbers import p_in_words, share_with_interval
from fusionkit.report.results import Loaded, Results
from fusionkit.stats import Estimate, class_permutation_p, holm, interval, paired_difference, permutation_p

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
    """The F1 of one class on both sides.

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
    """Two sides, a and b.

    Attributes:
        names: of both sides.
        ids: short ids of both sides.
        overall: their macro-F1.
        classes: their F1 of each class.
        seeds: of both sides, in pairs.
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


def compare(results: Results, a: str, b: str) -> Comparison:
    """Compare two families or cells of a run folder.

    Raises:
        ConfigError: if either stands for nothing or for several, or they were not tested on the same frames.
        DataError: if no seed of them is finished.
    """
    first, second = find(results.grid, a), find(results.grid, b)
    names = label(first, second), label(second, first)
    if (first.record["id"], first.seed, first.fold) == (second.record["id"], second.seed, second.fold):
        raise ConfigError(f"{a!r} and {b!r} are the same: {first.name} ({first.id})", hint="name two")
    # A cell of one fold is held against that fold of the other side.
    sides = [_load(results, first, first.fold or second.fold), _load(results, second, second.fold or first.fold)]
    seeds, left_out = _paired_seeds((first, second), (sides[0], sides[1]), names)
    counts_a, counts_b = (
        np.stack([side.counts[seed] for seed in chosen]) for side, chosen in zip(sides, seeds, strict=True)
    )
    if not np.array_equal(sides[0].units, sides[1].units) or not np.array_equal(counts_a.sum(-1), counts_b.sum(-1)):
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
        classes=_class_contrasts(counts_a, counts_b, _class_names(sides[0])),
        seeds=seeds,
        left_out=left_out,
        n_frames=int(counts_a[0].sum()),
    )


def _turned(difference: Estimate) -> Estimate:
    """The difference taken the other way round."""
    return replace(difference, value=-difference.value, low=-difference.high, high=-difference.low)


def _load(results: Results, address: Address, fold: str | None) -> Loaded:
    record = address.record
    cells = [cell for cell in record["cells"] if fold in (None, cell["fold"])]
    loaded = results.load({**record, "cells": cells})
    if not loaded.counts:
        why = next(iter(loaded.failures.values()), "")
        raise DataError(f"{address.name} has no finished seed" + (f": {why}" if why else ""), hint="bench it again")
    return loaded


def _paired_seeds(
    addresses: tuple[Address, Address], sides: tuple[Loaded, Loaded], names: tuple[str, str]
) -> tuple[tuple[list[int], list[int]], list[int]]:
    """The seeds of both sides that go together, and those left out. A seed that one side names goes for both."""
    asked = [address.seed for address in addresses]
    if asked == [None, None]:
        common = sorted(sides[0].counts.keys() & sides[1].counts.keys())
        if not common:
            raise DataError(f"{names[0]} and {names[1]} have no finished seed in common", hint="bench them again")
        return (common, common), sorted(sides[0].counts.keys() ^ sides[1].counts.keys())
    given = next(seed for seed in asked if seed is not None)
    chosen = [given if seed is None else seed for seed in asked]
    for seed, side, name in zip(chosen, sides, names, strict=True):
        if seed not in side.counts:
            raise DataError(f"seed {seed} of {name} is not finished", hint="bench it again")
    return ([chosen[0]], [chosen[1]]), []


def _class_names(side: Loaded) -> list[str]:
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
