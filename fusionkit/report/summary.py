"""Summaries of results for a terminal: tables, sentences, a caption and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

from rich.table import Table

from fusionkit.report import ablation, comparison, robustness, table
from fusionkit.report.attribution import attribution_tables
from fusionkit.report.ranks import ranks_table
from fusionkit.report.run import Results


@dataclass(frozen=True, eq=False)
class Summary:
    """Description of a result.

    Attributes:
        tables: in reading order.
        lines: sentences on the tables.
        caption: data, seeds and methods behind the numbers.
        warnings: limits of the numbers, one line each.
    """

    tables: Sequence[Table]
    lines: Sequence[str]
    caption: Sequence[str]
    warnings: Sequence[str]


@singledispatch
def summarize(result: object) -> Summary:
    """Return the summary of a result.

    Raises:
        TypeError: if there is no summary for this type.
    """
    raise TypeError(f"{type(result).__name__} has no summary")


@summarize.register
def _results(result: Results) -> Summary:
    ranks = [ranks_table(part) for part in result.by_task().values()]
    tables = [table.results_table(result), *ranks, *attribution_tables(result)]
    return Summary([each for each in tables if each], [], table.caption(result), table.warnings(result))


@summarize.register
def _comparison(result: comparison.Comparison) -> Summary:
    return Summary(
        tables=[comparison.overall_table(result), comparison.class_table(result)],
        lines=[result.sentence(), *result.class_sentences()],
        caption=[comparison.caption(result)],
        warnings=comparison.warnings(result),
    )


@summarize.register
def _ablation(result: ablation.Ablation) -> Summary:
    tested = result.tested
    lines = ablation.ablation_lines(result)
    return Summary([ablation.ablation_table(result)], lines, [tested.caption()], tested.warnings())


@summarize.register
def _robustness(result: robustness.Robustness) -> Summary:
    tables = [robustness.subset_table(result), robustness.curve_table(result)]
    caption = [robustness.curve_caption(result), result.tested.caption()]
    return Summary(tables, [], caption, result.tested.warnings())
