"""``fusionkit new``: write a plugin package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fusionkit import api
from fusionkit.cli import completion, options
from fusionkit.cli.console import out, print_line, reporting


def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="Kind: fusion, clip-fusion (over time), smoother, extractor, backbone, dataset or task.",
            autocompletion=completion.kind,
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the component, as gated-sum.")],
    parent: Annotated[Path, options.out_option("DIR", "Parent of the package's folder.")] = Path(),
    debug: options.Debug = False,
) -> None:
    """Write an installable package with one working component, its tests and its entry point.

    The component works; replace its method with your own.

    Examples:

      fusionkit new fusion gated-sum

      fusionkit new smoother slow-mean --out ~/plugins
    """
    with reporting(debug):
        folder = api.new_package(kind, name, parent)
        out.print(f"[bold]{escape(str(folder))}[/]", soft_wrap=True)
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            print_line(f"  {file.relative_to(folder).as_posix()}")
        out.print()
        print_line(f"pip install -e '{folder}[test]' && pytest {folder}")
