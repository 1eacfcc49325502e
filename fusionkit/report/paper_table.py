"""Table of a run folder for a paper or a script: LaTeX, Markdown, CSV or JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from fusionkit.errors import printable
from fusionkit.grid.results import Row, RunResults
from fusionkit.report.answer import answer
from fusionkit.report.csv_files import result_columns, result_lines, weights_text
from fusionkit.report.numbers import p_value, share, share_with_interval, signed_with_interval
from fusionkit.report.row_names import RowNames, varying
from fusionkit.report.significance import Significance, row_significance, rule
from fusionkit.report.table import caption, unfinished_text
from fusionkit.storage.artifact import csv_bytes
from fusionkit.storage.identity import json_text

Format = Literal["latex", "latex-classes", "markdown", "csv", "json"]

_NAMES = ("views", "fusion", "smoother")
_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_MINUS = re.compile(r"-(?=\.?\d)")
_MARKDOWN = {sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|~&"}


def paper_table(results: RunResults, form: Format) -> str:
    """Return the rows as text, ending in a line break."""
    writers: dict[str, Callable[[RunResults, dict[str, Significance]], str]] = {
        "latex": _latex,
        "latex-classes": _latex_classes,
        "markdown": _markdown,
        "csv": _csv,
        "json": _json,
    }
    return writers[form](results, row_significance(results))


def _latex(results: RunResults, significance: dict[str, Significance]) -> str:
    """Return a ``booktabs`` table: the best row in bold, a dagger on rows tied with it."""
    axes = _axes(results)
    lines = [
        [*settings, *(_MINUS.sub("$-$", text) for text in numbers)]
        for settings, numbers in _texts(results, axes, significance, (r"\textbf{%s}", r"%s$^{\dagger}$"), _LATEX)
    ]
    marks = r"Bold: the highest score; $^{\dagger}$: not significantly different from it. "
    return _booktabs(
        results, (*axes, *_heads(results)), len(axes), lines, marks + _escaped(f"{rule(results)}.", _LATEX)
    )


def _latex_classes(results: RunResults, significance: dict[str, Significance]) -> str:
    """Return a ``booktabs`` table of the F1 of each class, as papers on the ABAW challenge give it."""
    axes, classes = _axes(results), list(dict.fromkeys(name for row in results.rows for name in row.parts))
    lines = []
    texts = _texts(results, axes, significance, ("%s", "%s"), _LATEX)
    for row, (settings, _) in zip(results.rows, texts, strict=True):
        values = [row.parts[name].value if name in row.parts else math.nan for name in classes]
        numbers = [*map(share, values), share(row.score.value) if row.score else unfinished_text(row)]
        if significance.get(row.id) == "best":
            numbers[-1] = rf"\textbf{{{numbers[-1]}}}"
        lines.append([*settings, *numbers])
    metric = results.metric
    parts = " and ".join(dict.fromkeys(f"{row.task.score} of each {row.task.part}" for row in results.rows))
    marks = f"{parts} over pooled frames, mean over seeds; bold: the highest {metric}, picked from these rows."
    return _booktabs(results, (*axes, *classes, metric), len(axes), lines, _escaped(marks, _LATEX))


def _booktabs(results: RunResults, heads: Sequence[str], n_axes: int, lines: list[list[str]], marks: str) -> str:
    about = [_escaped(f"{line}.", _LATEX) for line in caption(results)]
    return "\n".join(
        [
            r"\begin{table}  % needs \usepackage{booktabs}",
            r"\centering",
            rf"\caption{{{' '.join([*about, marks])}}}",
            rf"\begin{{tabular}}{{{'l' * n_axes}{'r' * (len(heads) - n_axes)}}}",
            r"\toprule",
            "  " + " & ".join(_escaped(name, _LATEX) for name in heads) + r" \\",
            r"\midrule",
            *("  " + " & ".join(line) + r" \\" for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _markdown(results: RunResults, significance: dict[str, Significance]) -> str:
    axes = _axes(results)
    heads = _heads(results)
    lines = ["| " + " | ".join((*axes, *heads)) + " |", "|" + "---|" * len(axes) + "---:|" * len(heads)]
    for settings, numbers in _texts(results, axes, significance, ("**%s**", "%s †"), _MARKDOWN):
        lines.append("| " + " | ".join((*settings, *numbers)) + " |")
    about = [part for line in caption(results) for part in (_escaped(line, _MARKDOWN), "")]
    marks = f"**bold**: the highest score; †: not significantly different from it. {rule(results)}."
    return "\n".join([*lines, "", *about, marks, ""])


def _heads(results: RunResults) -> tuple[str, ...]:
    return f"{results.metric} [95 %]", "difference [95 %]", "p Holm"


def _csv(results: RunResults, _: dict[str, Significance]) -> str:
    return csv_bytes(result_columns(results), result_lines(results)).decode()


def _json(results: RunResults, _: dict[str, Significance]) -> str:
    found = answer(results)
    columns = result_columns(results)
    rows = [{name: _known(line.get(name)) for name in columns} for line in result_lines(results)]
    content = {"question": found.question, "answer": found.sentences(), "about": caption(results), "rows": rows}
    return json_text(content, indent=1, allow_nan=False) + "\n"


def _known(value: Any) -> Any:
    """Return None for a value that is not a number, which JSON cannot hold."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _axes(results: RunResults) -> list[str]:
    """Return the axes that vary, those that name a row, and a mark of random weights if there are any."""
    marks = ["weights"] if any(row.random_backbones for row in results.rows) else []
    return [*(name for name in varying(row.axes for row in results.rows) if name not in _NAMES), *_NAMES, *marks]


def _texts(
    results: RunResults,
    axes: list[str],
    significance: dict[str, Significance],
    marks: tuple[str, str],
    signs: dict[str, str],
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the settings and the numbers of each row, escaped, with the marks of best and tied scores."""
    names = RowNames(results.rows)
    formats = dict(zip(("best", "tied"), marks, strict=True))
    for row in results.rows:
        chosen = {"smoother": row.chosen, "fusion": row.chosen_fusion, "recipe": row.chosen_recipe}
        chosen["weights"] = weights_text(row.random_backbones)
        settings = [chosen[axis] if axis in chosen else names.part(row.axes, axis) for axis in axes]
        score, *others = (_escaped(text, signs) for text in _numbers(row))
        score = formats.get(significance.get(row.id, ""), "%s") % score
        yield [_escaped(text, signs) for text in settings], [score, *others]


def _numbers(row: Row) -> list[str]:
    if row.score is None:
        return [unfinished_text(row), "", ""]
    delta = signed_with_interval(row.delta) if row.delta else ("reference" if row.is_reference else "")
    return [share_with_interval(row.score), delta, p_value(row.p_holm) if row.delta else ""]


def _escaped(text: str, signs: dict[str, str]) -> str:
    """Return one line of text with the special characters of the target language escaped."""
    return "".join(signs.get(sign, sign) for sign in printable(" ".join(text.split())))
