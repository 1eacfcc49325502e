"""The table of a folder for a paper or a script: LaTeX, Markdown, CSV, JSON; what is best is marked by the tests."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from fusionkit.grid.results import Row, RunResults
from fusionkit.report.answer import answer
from fusionkit.report.csv_files import RESULT_COLUMNS, result_record
from fusionkit.report.numbers import p_value, share_with_interval, signed_with_interval
from fusionkit.report.row_names import RowNames, varying
from fusionkit.report.significance import RULE, Significance, row_significance
from fusionkit.report.table import caption
from fusionkit.storage.artifact import csv_bytes

Format = Literal["latex", "markdown", "csv", "json"]
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
    """The rows as text that ends in a line break."""
    writers: dict[str, Callable[[RunResults, dict[str, Significance]], str]] = {
        "latex": _latex,
        "markdown": _markdown,
        "csv": _csv,
        "json": _json,
    }
    return writers[form](results, row_significance(results))


def _latex(results: RunResults, standing: dict[str, Significance]) -> str:
    """A ``booktabs`` table: bold the best, a dagger on what cannot be told apart from it."""
    axes = _axes(results)
    lines = []
    for row, plain in zip(results.rows, _texts(results, axes), strict=True):
        texts = [_escaped(text, _LATEX) for text in plain]
        mark, place = standing.get(row.id), len(axes)
        texts[place:] = [_MINUS.sub("$-$", text) for text in texts[place:]]
        if mark == "best":
            texts[place] = rf"\textbf{{{texts[place]}}}"
        elif mark == "level":
            texts[place] += r"$^{\dagger}$"
        lines.append("  " + " & ".join(texts) + r" \\")
    about = [_escaped(f"{line}.", _LATEX) for line in caption(results)]
    rule = r"Bold: the highest score; $^{\dagger}$: not told apart from it. " + _escaped(f"{RULE}.", _LATEX)
    head = [_escaped(name, _LATEX) for name in (*axes, "macro-F1 [95 %]", "difference [95 %]", "p Holm")]
    return "\n".join(
        [
            r"\begin{table}  % needs \usepackage{booktabs}",
            r"\centering",
            rf"\caption{{{' '.join([*about, rule])}}}",
            rf"\begin{{tabular}}{{{'l' * len(axes)}rrr}}",
            r"\toprule",
            "  " + " & ".join(head) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _markdown(results: RunResults, standing: dict[str, Significance]) -> str:
    axes = _axes(results)
    lines = [
        "| " + " | ".join((*axes, "macro-F1 [95 %]", "difference [95 %]", "p Holm")) + " |",
        "|" + "---|" * len(axes) + "---:|" * 3,
    ]
    for row, plain in zip(results.rows, _texts(results, axes), strict=True):
        texts = [_escaped(text, _MARKDOWN) for text in plain]
        mark, place = standing.get(row.id), len(axes)
        if mark == "best":
            texts[place] = f"**{texts[place]}**"
        elif mark == "level":
            texts[place] += " †"
        lines.append("| " + " | ".join(texts) + " |")
    about = [_escaped(line, _MARKDOWN) for line in caption(results)]
    about = [line for text in about for line in (text, "")]
    return "\n".join([*lines, "", *about, f"**bold**: the highest score; †: not told apart from it. {RULE}.", ""])


def _csv(results: RunResults, standing: dict[str, Significance]) -> str:
    """``results.csv`` with a column of row_significance."""
    records = ({**result_record(row), "standing": standing.get(row.id, "")} for row in results.rows)
    return csv_bytes((*RESULT_COLUMNS, "standing"), records).decode()


def _json(results: RunResults, standing: dict[str, Significance]) -> str:
    found = answer(results)
    rows = [{**_known(row), "standing": standing.get(row.id), "id": row.id} for row in results.rows]
    whole = {"question": found.question, "answer": found.sentences(), "about": caption(results), "rows": rows}
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _known(row: Row) -> dict[str, Any]:
    """The columns of ``results.csv``, null where there is nothing."""
    record = {name: result_record(row).get(name) for name in RESULT_COLUMNS}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in record.items()}


def _axes(results: RunResults) -> Sequence[str]:
    """The axes that vary, and in any case what names a row."""
    others = [name for name in varying(row.axes for row in results.rows) if name not in _NAMES]
    return (*others, *_NAMES)


def _texts(results: RunResults, axes: Sequence[str]) -> Iterator[list[str]]:
    called = RowNames(row.axes for row in results.rows)
    for row in results.rows:
        chosen = {"smoother": row.chosen, "recipe": row.chosen_recipe}
        yield [*(chosen.get(axis, called.part(row.axes, axis)) for axis in axes), *_numbers(row)]


def _numbers(row: Row) -> list[str]:
    if row.score is None:
        return ["failed" if row.failures else "not run", "", ""]
    delta = signed_with_interval(row.delta) if row.delta else ("reference" if row.is_reference else "")
    return [share_with_interval(row.score), delta, p_value(row.p_holm) if row.delta else ""]


def _escaped(text: str, signs: dict[str, str]) -> str:
    """On one line, with the signs that the language reads otherwise."""
    return "".join(signs.get(sign, sign) for sign in " ".join(text.split()))
