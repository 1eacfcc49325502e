"""``fusionkit compare``: two rows of a run folder against each other, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import err, out, reporting
from fusionkit.cli.options import ROW, Debug, Folder

if TYPE_CHECKING:
    from fusionkit.report.comparison import Comparison


def compare(
    folder: Folder,
    a: Annotated[
        str,
        typer.Argument(metavar="A", help=f"{ROW}.", autocompletion=completion.rows),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="What it is held against.", autocompletion=completion.rows)],
    debug: Debug = False,
) -> None:
    """Compare two rows or cells of a run, overall and for each class, on the same frames and seeds.

    Ids may be shortened, and names too, where what is left still fits one row only.

    Examples:

      fusionkit compare runs/regions face,eye/concat/none face/linear/none

      fusionkit compare runs/regions concat linear

      fusionkit compare runs/regions 3fa29c1 07be
    """
    with reporting(debug):
        from fusionkit.report.run import Results

        print_comparison(Results(folder).compare(a, b))


def print_comparison(comparison: Comparison) -> None:
    """The scores, the classes, the sentences, what they rest on, and what to be careful of."""
    from fusionkit.report.comparison import caption, class_table, overall_table, warnings

    out.print()
    out.print(overall_table(comparison))
    out.print()
    out.print(class_table(comparison))
    out.print()
    for line in (comparison.sentence(), *comparison.class_sentences()):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    out.print(escape(caption(comparison)), style="dim", highlight=False)
    for line in warnings(comparison):
        err.print(f"[yellow]warning:[/] {escape(line)}", soft_wrap=True)
