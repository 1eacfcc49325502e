"""``fusionkit report``: write a run as a page, a table for a paper, or figures."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import print_labelled, print_note, print_text, reporting
from fusionkit.errors import FusionKitWarning


def report(
    folder: options.Folder,
    form: Annotated[
        Literal["html", "latex", "latex-classes", "markdown", "csv", "json"],
        typer.Option(
            "--format",
            metavar="TYPE",
            help="html (the whole page), or the table as latex, latex-classes (F1 of each class), markdown, csv "
            "or json.",
        ),
    ] = "html",
    out: Annotated[
        Path | None, options.out_option("FILE", "File. Default: DIR/report.html; a table is printed.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for every figure as SVG. Default: none are written.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Show frames of the data sets on the page.")
    ] = True,
    test: options.Test = "crossed",
    plugin: options.Plugins = None,
    debug: options.Debug = False,
) -> None:
    """Write the report of a run as one HTML page that needs no other file.

    Every bench writes this page to DIR/report.html. It states which differences the paired tests support. Tables mark
    the best row, and the rows that the tests do not separate from it. Timelines and frames need the data set and are
    left out without it.

    Examples:

      fusionkit report runs/regions

      fusionkit report runs/regions --format latex --out table.tex --figures figures
    """
    with reporting(debug):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", FusionKitWarning)
            written = api.report(
                folder,
                out,
                form=form,
                figures=figures,
                pictures=pictures,
                test=test,
                plugins=plugin or (),
            )
        print_labelled("warning", (str(each.message) for each in found if each.category is FusionKitWarning))
        if written.path is None:
            print_text(written.text)
        else:
            print_note(f"wrote {written.path}")
        if figures is not None:
            print_note(f"wrote {written.figures} figures to {figures}")
