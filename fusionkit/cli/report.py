"""``fusionkit report``: a run folder as one page, as a table for a paper, as figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fusionkit.cli.console import err, reporting
from fusionkit.cli.options import Debug, Folder, Plugins


def report(
    folder: Folder,
    form: Annotated[
        Literal["html", "latex", "markdown", "csv", "json"],
        typer.Option("--format", help="A page, or the table alone: for booktabs, for a text, for a script."),
    ] = "html",
    out_file: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file. Default: DIR/report.html; tables are printed."),
    ] = None,
    figures: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write each figure there, as SVG.")] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Show frames of the data set on the page, or none.")
    ] = True,
    intervals: Annotated[
        Literal["jackknife", "bootstrap"],
        typer.Option(help="Of the rows. The percentile bootstrap covers less than it says where people are few."),
    ] = "jackknife",
    plugin: Plugins = None,
    debug: Debug = False,
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
        from fusionkit.errors import ConfigError
        from fusionkit.registry.plugin_file import load_plugin_file
        from fusionkit.report.charts.gallery import save_figures
        from fusionkit.report.paper_table import paper_table
        from fusionkit.report.run import Results
        from fusionkit.storage.artifact import write_file

        if out_file is not None and out_file.is_dir():
            raise ConfigError(f"--out {out_file} is a folder", hint="a file")
        if figures is not None and figures.exists() and not figures.is_dir():
            raise ConfigError(f"--figures {figures} is a file", hint="a folder")
        for path in plugin or ():
            load_plugin_file(path)
        results = Results(folder, intervals)
        if form == "html":
            _say(f"wrote {results.report(out_file, pictures=pictures)}")
        elif out_file is None:
            typer.echo(paper_table(results, form), nl=False)
        else:
            write_file(out_file, paper_table(results, form).encode())
            _say(f"wrote {out_file}")
        if figures is not None:
            _say(f"wrote {save_figures(results, figures)} figures to {figures}")


def _say(line: str) -> None:
    err.print(line, markup=False, highlight=False, soft_wrap=True)
