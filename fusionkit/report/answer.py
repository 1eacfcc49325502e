"""The answer of a grid in sentences: which choice is better, axis by axis, said no more surely than the tests do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from fusionkit.grid.axes import Axes
from fusionkit.grid.results import Row, RunResults
from fusionkit.report.numbers import p_in_words, share_with_interval, signed_with_interval
from fusionkit.report.row_names import RowNames, dataset_names
from fusionkit.report.significance import ALPHA, PairedDifference, RowScores, holm_of, scored_rows
from fusionkit.stats.intervals import Estimate

# The axes that are asked about, with their names in a question.
ASKED = {
    "views": ("region set", "region sets"),
    "fusion": ("fusion", "fusions"),
    "smoother": ("smoother", "smoothers"),
    "backbone": ("backbone", "backbones"),
    "extractor": ("extractor", "extractors"),
    "recipe": ("recipe", "recipes"),
}
_NAMED = 4
RULE = (
    "Choices of one axis are compared on rows that are alike in all else, by the mean difference of macro-F1. One is "
    "said to beat another only where the paired unit-swap permutation test rejects at 5 %, Holm-corrected over all "
    "pairs of choices on all axes, and the 95 % interval in brackets, which is not corrected, leaves out 0."
)


@dataclass(frozen=True, eq=False)
class Rival:
    """The best choice of an axis held against another one.

    Attributes:
        name: of the other.
        difference: the best less the other.
        p: corrected; 1 where the interval holds 0, which settles it.
    """

    name: str
    difference: Estimate
    p: float

    @property
    def is_beaten(self) -> bool:
        """Whether test and interval both say so."""
        return self.p <= ALPHA and self.difference.low > 0


@dataclass(frozen=True, eq=False)
class Finding:
    """What the tests say of one axis on one data set.

    Attributes:
        axis: one of :data:`ASKED`.
        dataset: with its split, where there are several; else empty.
        best: the choice with the highest mean.
        rivals: the other choices, by rising difference.
        alike: pairs of rows behind each difference.
        left_out: choices without a row that is alike to rows of the others.
    """

    axis: str
    dataset: str
    best: str
    rivals: list[Rival]
    alike: int
    left_out: list[str]

    @property
    def subject(self) -> str:
        """``Fusion``, and the data set where there are several."""
        return ASKED[self.axis][0].capitalize() + (f", on {self.dataset}" if self.dataset else "")

    def sentence(self) -> str:
        """``Fusion: mlp beats concat by ...``."""
        return f"{self.subject}: {self.said()}"

    def said(self) -> str:
        """``mlp beats concat by .074 [.051, .097]; it cannot be told apart from plain-concat ...``."""
        beaten = [rival for rival in self.rivals if rival.is_beaten]
        level = [rival for rival in self.rivals if not rival.is_beaten]
        parts = []
        if beaten:
            said = [f"{rival.name} by {share_with_interval(rival.difference)}" for rival in beaten]
            parts.append(f"{self.best} beats {_listed(said)}")
        if level and beaten:
            said = [f"{rival.name} ({signed_with_interval(rival.difference)})" for rival in level]
            parts.append(f"it cannot be told apart from {_listed(said)}")
        elif level:
            said = [f"{rival.name} ({signed_with_interval(rival.difference)})" for rival in level]
            parts.append(f"{self.best}, the highest, cannot be told apart from {_listed(said)}")
        notes = [f"mean over {self.alike} pairs of rows that are alike in all else"] if self.alike > 1 else []
        notes += [f"{_listed(self.left_out)} left out, without rows to pair"] if self.left_out else []
        return "; ".join(parts) + (f" ({'; '.join(notes)})" if notes else "")


@dataclass(frozen=True, eq=False)
class Answer:
    """A question and what the folder has to say on it."""

    question: str
    headline: str
    findings: list[Finding]

    def sentences(self) -> list[str]:
        """The headline, and a sentence an axis."""
        return [self.headline, *(finding.sentence() for finding in self.findings)]


def answer(results: RunResults) -> Answer:
    """What the rows of a folder say."""
    return Answer(_question(results), _headline(results), _findings(results))


def _question(results: RunResults) -> str:
    axes = [row.axes for row in results.rows]
    counts = {axis: len({getattr(each, axis) for each in axes}) for axis in ASKED}
    choices = [f"{count} {ASKED[axis][1]}" for axis, count in counts.items() if count > 1]
    where = _joined(list(dataset_names(each.dataset for each in axes).values()))
    if not choices:
        return f"How well does {axes[0].name} recognise expression on {where}?"
    return f"Which of {_joined(choices)} recognises expression best on {where}, and is the difference real?"


def _headline(results: RunResults) -> str:
    scored: dict[tuple[str, str], list[Row]] = {}
    for row in results.rows:
        if row.score:
            scored.setdefault((row.axes.dataset, row.axes.split), []).append(row)
    if not scored:
        return "nothing is finished yet"
    called = RowNames(row.axes for row in results.rows)
    said = [(_best(results, rows), called.data(rows[0].axes)) for rows in scored.values()]
    parts = [said[0][0]] if len(said) == 1 else [f"On {data}, {best}" for best, data in said]
    lacking = sum(row.score is None for row in results.rows)
    return ". ".join([*parts, *([f"{lacking} of {len(results.rows)} rows have no score"] if lacking else [])])


def _best(results: RunResults, scored: list[Row]) -> str:
    best = max(scored, key=lambda row: row.score.value if row.score else 0.0)
    assert best.score is not None
    if len(scored) == 1:
        return f"{best.axes.name} scores {share_with_interval(best.score)} in macro-F1"
    said = f"{best.axes.name} scores highest, {share_with_interval(best.score)} in macro-F1"
    tests = sum(row.delta is not None for row in results.rows)
    return said + _against_reference(best, _reference(results, best), tests)


def _reference(results: RunResults, row: Row) -> str:
    """The name of the row's reference; empty where it has none."""
    rows = {entry["id"]: entry for entry in results.grid["rows"]}
    held = rows.get(rows[row.id]["reference"])
    return Axes(**held["axes"]).name if held else ""


def _against_reference(row: Row, reference: str, tests: int) -> str:
    if row.is_reference:
        return "; it is the reference row"
    if row.delta is None:
        return ""
    p = p_in_words(row.p_holm) + (f" corrected for {tests} comparisons" if tests > 1 else "")
    if row.p_holm <= ALPHA and row.delta.low > 0:
        return f"; it beats the reference {reference} by {share_with_interval(row.delta)}, {p}"
    return f"; it cannot be told apart from the reference {reference} ({signed_with_interval(row.delta)}, {p})"


def _findings(results: RunResults) -> list[Finding]:
    called = RowNames(row.axes for row in results.rows)
    groups: dict[tuple[str, str], list[RowScores]] = {}
    for side in scored_rows(results):
        groups.setdefault((side.axes.dataset, side.axes.split), []).append(side)
    tables = [
        (axis, called.data(group[0].axes) if len(groups) > 1 else "", *_alike(group, axis))
        for group in groups.values()
        for axis in ASKED
    ]
    pairs = sum(len(levels) * (len(levels) - 1) // 2 for _, _, levels, _ in tables)
    drafts = [(axis, data, _leads(levels), left_out) for axis, data, levels, left_out in tables if len(levels) > 1]
    differences = list(chain.from_iterable(found.values() for _, _, (_, found), _ in drafts))
    corrected = iter(
        holm_of([difference.p(pairs) if difference.leaves_out_zero else 1.0 for difference in differences], pairs)
    )
    findings = []
    for axis, data, (best, found), left_out in drafts:
        rivals = [Rival(name, difference.difference, next(corrected)) for name, difference in found.items()]
        rivals.sort(key=lambda rival: rival.difference.value)
        if rivals:
            alike = len(next(iter(found.values())).a)
            findings.append(Finding(axis, data, best, rivals, alike, left_out))
    return findings


def _alike(group: Sequence[RowScores], axis: str) -> tuple[dict[str, list[RowScores]], list[str]]:
    """By choice the rows that every choice has, in one order; and the choices that had to be left out for it.

    A choice that shares no row with the others (the reference, with its own fusion) would leave nothing to compare.
    """
    table: dict[str, dict[tuple[str, ...], RowScores]] = {}
    for side in group:
        others = tuple(value for name, value in sorted(vars(side.axes).items()) if name != axis)
        table.setdefault(getattr(side.axes, axis), {})[others] = side
    left_out: list[str] = []
    while len(table) > 1:
        shared = [others for others in next(iter(table.values())) if all(others in rows for rows in table.values())]
        if shared:
            return {name: [rows[others] for others in shared] for name, rows in table.items()}, left_out
        fewest = min(table, key=lambda name: len(table[name]))
        left_out.append(fewest)
        del table[fewest]
    return {}, left_out


def _leads(levels: dict[str, list[RowScores]]) -> tuple[str, dict[str, PairedDifference]]:
    """The choice with the highest mean, and what it has over each of the others that can be paired with it."""
    means = {name: sum(_mean_score(side) for side in rows) / len(rows) for name, rows in levels.items()}
    best = max(means, key=lambda name: means[name])
    differences = {name: PairedDifference.of(levels[best], rows) for name, rows in levels.items() if name != best}
    return best, {name: difference for name, difference in differences.items() if difference}


def _mean_score(side: RowScores) -> float:
    return float(sum(full for full, _ in side.left_out.values()) / len(side.left_out))


def _listed(said: list[str]) -> str:
    if len(said) <= _NAMED:
        return _joined(said)
    return f"{', '.join(said[:_NAMED])} and {len(said) - _NAMED} more"


def _joined(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
