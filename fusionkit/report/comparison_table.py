"""A comparison on the terminal: both scores, a table of classes, the sentences, and what the numbers are."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from fusionkit.report.comparison import ClassContrast, Comparison
from fusionkit.report.numbers import p_in_words, p_value, share, share_with_interval, signed_with_interval
from fusionkit.stats import FEW_UNITS


def overall_table(comparison: Comparison) -> Table:
    """Macro-F1 of both sides and their difference."""
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
    """F1 of each class on both sides, with difference and corrected p."""
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
