"""The best rows by their macro-F1, with intervals."""

from __future__ import annotations

from collections.abc import Iterator

from fusionkit.report.charts.figure import Figure, said
from fusionkit.report.charts.lines import Mark, ladder
from fusionkit.report.numbers import share, share_with_interval
from fusionkit.report.results import Results
from fusionkit.report.row_names import RowNames

_ROWS = 40


def score_figure(results: Results) -> Iterator[Figure]:
    """One figure, where there are two rows or more with a score."""
    scored = [(row, row.score) for row in results.rows if row.score]
    if len(scored) < 2:
        return
    scored.sort(key=lambda item: -item[1].value)
    shown = scored[:_ROWS]
    called = RowNames(row.axes for row in results.rows)
    names = [called(row.axes) for row, _ in shown]
    marks = [
        Mark.of("", name, score, said(name, share_with_interval(score), row=row.id))
        for name, (row, score) in zip(names, shown, strict=True)
    ]
    rest = f" The best {_ROWS} of {len(scored)} rows." if len(scored) > _ROWS else ""
    yield Figure(
        "scores",
        "Rows by macro-F1",
        f"With 95 % intervals of each row alone: whether two rows differ is for the paired tests to say.{rest}",
        f"From {share(shown[0][1].value)} for {names[0]} down to {share(shown[-1][1].value)} for {names[-1]}.",
        ladder(marks, "macro-F1", "", "", zero=False),
        ("row", "macro-F1 [95 %]"),
        [(name, share_with_interval(score)) for name, (_, score) in zip(names, shown, strict=True)],
    )
