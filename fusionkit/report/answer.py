"""The answer of a grid in sentences: which choice is better, axis by axis, claimed only where it is significant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from fusionkit.grid.axes import RANDOM_MARK
from fusionkit.grid.contrasts import StoredRow
from fusionkit.grid.results import Row, RunResults
from fusionkit.report.numbers import p_in_words, share_with_interval, signed_with_interval
from fusionkit.report.row_names import RowNames, by_data, dataset_names
from fusionkit.report.significance import beats, corrected_p, criterion, excludes_zero, has_claims
from fusionkit.stats.crossed import Estimate

# Axes that findings compare, with their names in a sentence.
COMPARED = {
    "views": ("region set", "region sets"),
    "fusion": ("fusion", "fusions"),
    "smoother": ("smoother", "smoothers"),
    "backbone": ("backbone", "backbones"),
    "extractor": ("extractor", "extractors"),
    "recipe": ("training recipe", "training recipes"),
    "learned_with": ("further tasks", "choices of further tasks"),
}
_NAMED = 4
_FEW = 3  # values that are named in the question


@dataclass(frozen=True, eq=False)
class Answer:
    """The question that a grid asks, and its answer.

    Attributes:
        question: which axes are compared on which data.
        headline: best row of each data set, without a full stop.
        findings: one per axis and data set.
    """

    question: str
    headline: str
    findings: list[Finding]

    def sentences(self) -> list[str]:
        """Return the headline and a sentence per finding."""
        return [self.headline, *(finding.sentence() for finding in self.findings)]


@dataclass(frozen=True, eq=False)
class Finding:
    """Comparison of the choices of one axis on one data set.

    Attributes:
        axis: one of :data:`COMPARED`.
        dataset: name with split; empty if there is only one.
        best: choice with the highest mean.
        rivals: other choices, by rising difference.
        pairs: number of pairs of rows behind each difference.
        tests: number of tests that p is corrected over.
        left_out: choices without rows that can be paired with those of the other choices.
        unpaired: number of rows of the compared choices that have no partner in every other choice.
    """

    axis: str
    dataset: str
    best: str
    rivals: list[Rival]
    pairs: int
    tests: int
    left_out: list[str]
    unpaired: int

    @property
    def subject(self) -> str:
        """``Fusion``, with the data set if there are several."""
        return COMPARED[self.axis][0].capitalize() + (f", on {self.dataset}" if self.dataset else "")

    def sentence(self) -> str:
        """Return the finding with its subject: ``Fusion: mlp beats concat by ...``."""
        return f"{self.subject}: {self.text()}"

    def text(self) -> str:
        """Return the finding: ``mlp beats concat by .074 [.051, .097]; it is not significantly different from ...``."""
        if not any(each.is_tested for each in self.rivals):
            others = _listed([f"{each.name} ({signed_with_interval(each.difference)})" for each in self.rivals])
            text = f"{self.best} is the highest, with a difference to {others}; one trained model each, so no claim"
            return "; ".join([text, *self._omissions()])
        beaten = [f"{each.name} by {share_with_interval(each.difference)}" for each in self.rivals if each.is_beaten]
        tied = [f"{each.name} ({signed_with_interval(each.difference)})" for each in self.rivals if not each.is_beaten]
        parts = [f"{self.best} beats {_listed(beaten)}"] if beaten else []
        if tied:
            subject = "it" if beaten else f"{self.best}, the highest,"
            parts.append(f"{subject} is not significantly different from {_listed(tied)}")
        notes = [f"mean over {self.pairs} pairs of rows equal in every other setting"] if self.pairs > 1 else []
        if any(excludes_zero(each.difference) for each in self.rivals if not each.is_beaten):
            notes.append(f"after the correction over {self.tests} pairs of choices")
        notes += self._omissions()
        return "; ".join(parts) + (f" ({'; '.join(notes)})" if notes else "")

    def _omissions(self) -> list[str]:
        """Return what the comparison leaves out."""
        rows = "1 row" if self.unpaired == 1 else f"{self.unpaired} rows"
        notes = [f"{_listed(self.left_out)} left out, without rows to pair"] if self.left_out else []
        return [
            *notes,
            *([f"{rows} left out, not equal in every other setting to a row of each"] if self.unpaired else []),
        ]


@dataclass(frozen=True, eq=False)
class Rival:
    """A choice of an axis compared with the best choice.

    Attributes:
        name: name of the choice.
        difference: the best choice minus this one.
        p: Holm-corrected; NaN with one seed.
    """

    name: str
    difference: Estimate
    p: float

    @property
    def is_tested(self) -> bool:
        """Whether the difference has a p: with one seed it has none."""
        return not math.isnan(self.p)

    @property
    def is_beaten(self) -> bool:
        """Whether the best choice is significantly better."""
        return beats(self.difference, self.p)


def rule(results: RunResults) -> str:
    """Return how choices are compared, and when one is said to beat another."""
    compared = (
        "Choices of one axis are compared on rows equal in every other setting, by the mean difference of "
        f"{results.metric}."
    )
    if not has_claims(results):
        return f"{compared} With one seed, none is said to beat another."
    return f"{compared} One beats another only if {criterion(results, 'all pairs of choices on all axes')}."


def answer(results: RunResults) -> Answer:
    """Return the answer of a run folder."""
    return Answer(_question(results), _headline(results), _findings(results))


def _question(results: RunResults) -> str:
    axes = [row.axes for row in results.rows]
    counts = {axis: len({getattr(each, axis) for each in axes}) for axis in COMPARED}
    choices = [f"{count} {COMPARED[axis][1]}" for axis, count in counts.items() if count > 1]
    datasets = _joined(list(dataset_names(each.dataset for each in axes).values()))
    what = _joined(list(dict.fromkeys(map(_recognised, results.rows))))
    if not choices:
        return f"How well does {results.rows[0].name} recognise {what} on {datasets}?"
    return f"Which of {_joined(choices)} recognises {what} best on {datasets}, and is the difference significant?"


def _recognised(row: Row) -> str:
    """Return what a row predicts: a few values by their names, else the name of the task."""
    names = list(row.task.names)  # none without a finished cell
    is_named = not row.task.exclusive and 0 < len(names) <= _FEW
    return _joined(names) if is_named else row.axes.task.replace("-", " ")


def _headline(results: RunResults) -> str:
    groups = by_data(row for row in results.rows if row.score)
    if not groups:
        return "no row is finished yet"
    names = RowNames(results.rows)
    best = [(_best(results, rows), names.data(rows[0].axes)) for rows in groups.values()]
    parts = [best[0][0]] if len(best) == 1 else [f"On {data}, {text}" for text, data in best]
    missing = sum(row.score is None for row in results.rows)
    return ". ".join([*parts, *([f"{missing} of {len(results.rows)} rows have no score"] if missing else [])])


def _best(results: RunResults, scored: list[Row]) -> str:
    best = max(scored, key=lambda row: row.score.value if row.score else 0.0)
    assert best.score is not None
    if len(scored) == 1:
        return f"{best.name} has a {best.task.metric_name} of {share_with_interval(best.score)}"
    score = f"{best.task.metric_name}, {share_with_interval(best.score)}"
    text = f"{best.name} has the highest {score}, picked from {len(scored)} rows"
    if best.is_reference:
        return f"{text}; it is the reference row"
    if best.delta is None:
        return text
    return f"{text}; it {_against_reference(results, best, best.delta)}"


def _against_reference(results: RunResults, best: Row, delta: Estimate) -> str:
    reference, difference = f"the reference {_reference(results, best)}", signed_with_interval(delta)
    if math.isnan(delta.p):
        return f"differs from {reference} by {difference} with one trained model each, which is no claim about methods"
    tests = sum(row.delta is not None for row in results.rows)
    p = p_in_words(best.p_holm) + (f", Holm-corrected over {tests} comparisons" if tests > 1 else "")
    if beats(delta, best.p_holm):
        return f"beats {reference} by {share_with_interval(delta)}, {p}"
    if excludes_zero(delta):
        return f"differs from {reference} by {difference}, {p_in_words(delta.p)}, but not after correction: {p}"
    return f"is not significantly different from {reference} ({difference}, {p})"


def _reference(results: RunResults, row: Row) -> str:
    reference = next(entry["reference"] for entry in results.grid["rows"] if entry["id"] == row.id)
    return next(other.name for other in results.rows if other.id == reference)


def _findings(results: RunResults) -> list[Finding]:
    names = RowNames(results.rows)
    groups = by_data(results.scored)
    tables = [
        (axis, names.data(group[0].axes) if len(groups) > 1 else "", group, *_pairable(group, axis))
        for group in groups.values()
        for axis in COMPARED
    ]
    tests = sum(len(choices) * (len(choices) - 1) // 2 for _, _, _, choices, _ in tables)
    drafts = [
        (axis, data, *_against_best(results, choices), left, _unpaired(group, axis, choices))
        for axis, data, group, choices, left in tables
        if len(choices) > 1
    ]
    differences = list(chain.from_iterable(found.values() for _, _, _, _, found, _, _ in drafts))
    corrected = iter(corrected_p(differences, tests))
    findings = []
    for axis, data, best, pairs, found, left_out, unpaired in drafts:
        marks = _random_choices(results, axis)
        rivals = [Rival(marks.get(name, name), difference, next(corrected)) for name, difference in found.items()]
        rivals.sort(key=lambda rival: rival.difference.value)
        if rivals:
            findings.append(Finding(axis, data, marks.get(best, best), rivals, pairs, tests, left_out, unpaired))
    return findings


def _random_choices(results: RunResults, axis: str) -> dict[str, str]:
    """Return by backbone with random weights its name with a mark; nothing for other axes."""
    marked = [row.axes.backbone for row in results.rows if row.random_backbones and axis == "backbone"]
    return {name: f"{name}{RANDOM_MARK}" for name in marked}


def _pairable(group: Sequence[StoredRow], axis: str) -> tuple[dict[str, list[StoredRow]], list[str]]:
    """Return by choice the rows whose other settings every choice has, in one order, and the choices left out.

    A choice without settings in common with the others (the reference, with its own fusion) would leave nothing to
    compare, so choices with the fewest rows are left out until there are some.
    """
    table: dict[str, dict[tuple[str, ...], StoredRow]] = {}
    for row in group:
        others = tuple(value for name, value in sorted(vars(row.axes).items()) if name != axis)
        table.setdefault(getattr(row.axes, axis), {})[others] = row
    left_out: list[str] = []
    while len(table) > 1:
        shared = [others for others in next(iter(table.values())) if all(others in rows for rows in table.values())]
        if shared:
            return {name: [rows[others] for others in shared] for name, rows in table.items()}, left_out
        fewest = min(table, key=lambda name: len(table[name]))
        left_out.append(fewest)
        del table[fewest]
    return {}, left_out


def _unpaired(group: Sequence[StoredRow], axis: str, choices: dict[str, list[StoredRow]]) -> int:
    """Return the number of rows of some choices that are not paired."""
    return sum(getattr(row.axes, axis) in choices for row in group) - sum(map(len, choices.values()))


def _against_best(results: RunResults, choices: dict[str, list[StoredRow]]) -> tuple[str, int, dict[str, Estimate]]:
    """Return the choice with the highest mean, its number of rows, and its difference to each other choice."""
    means = {name: sum(row.score for row in rows) / len(rows) for name, rows in choices.items()}
    best = max(means, key=lambda name: means[name])
    difference = results.contrasts.difference
    found = {name: difference(choices[best], rows) for name, rows in choices.items() if name != best}
    return best, len(choices[best]), {name: each for name, each in found.items() if each}


def _listed(texts: list[str]) -> str:
    if len(texts) <= _NAMED:
        return _joined(texts)
    return f"{', '.join(texts[:_NAMED])} and {len(texts) - _NAMED} more"


def _joined(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
