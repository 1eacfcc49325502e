"""``fusionkit report``: a run folder as one page, as a table for a paper, as figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fusionkit.cli.console import out, reporting


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    form: Annotated[
        Literal["html", "latex", "markdown", "csv", "json"],
        typer.Option("--format", help="A page, or the table alone: for booktabs, for a text, for a script."),
    ] = "html",
    out_file: Annotated[
        Path | None, typer.Option("--out", help="The file. Default: DIR/report.html; tables are printed.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also write each figure there, as SVG.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Show frames of the data set on the page, or none.")
    ] = True,
    plugin: Annotated[list[str] | None, typer.Option(help="A Python file that registers components.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write what a run found as one page that needs nothing else: report.html in DIR, as every bench does at its end.

    It says which choices beat which, as surely as the paired tests do; in the tables the best row and those that cannot
    be told apart from it are marked by these tests. Timelines and pictures of frames need the data set; without it they
    are left out.

    Examples:

      fusionkit report runs/regions

      fusionkit report runs/regions --format latex --out table.tex --figures figures
    """
    with reporting(debug):
        from fusionkit import api

        if form == "html":
            place = api.report(folder, out=out_file, pictures=pictures, plugins=plugin or ())
            out.print(f"wrote {place}", markup=False, highlight=False, soft_wrap=True)
        else:
            text = api.table(folder, form, out=out_file)
            if out_file is None:
                typer.echo(text, nl=False)
        if figures is not None:
            written = api.write_figures(folder, figures, plugins=plugin or ())
            out.print(f"wrote {written} figures to {figures}", markup=False, highlight=False, soft_wrap=True)
