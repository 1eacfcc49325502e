"""``fusionkit new``: a package to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import out, reporting
from fusionkit.cli.options import Debug


def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="fusion, smoother, extractor, backbone or dataset.",
            autocompletion=completion.kind,
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The component's name, like 'gated-sum'.")],
    out_folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder in which the package's folder is made.")
    ] = Path(),
    debug: Debug = False,
) -> None:
    """Write an installable package with one component that works, its tests and its entry point.

    Examples:

      fusionkit new fusion gated-sum

      fusionkit new smoother slow-mean --out ~/plugins
    """
    with reporting(debug):
        from fusionkit.testing.package_writer import write_package

        folder = write_package(kind, name, out_folder)
        out.print(f"[bold]{escape(str(folder))}[/]", soft_wrap=True)
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            out.print(f"  {escape(file.relative_to(folder).as_posix())}", highlight=False)
        out.print(
            f"\npip install -e '{escape(str(folder))}[test]' && pytest {escape(str(folder))}".replace(
                "[test]", r"\[test]"
            )
        )
