"""``fusionkit merge``: merge run folders on the same data and split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import RESUMABLE, print_labelled, print_line, reporting


def merge(
    others: Annotated[list[Path], typer.Argument(metavar="OTHER...", help="Run folders; they are not changed.")],
    folder: Annotated[Path, options.out_option("DIR", "Run folder that receives the union; new or existing.")],
    debug: options.Debug = False,
) -> None:
    """Merge run folders.

    A grid can run in parts: on several machines, or with some of the seeds each. All folders must hold results on the
    same data and split. Merged work is not run again. Work that two folders have in common is taken from DIR.

    Examples:

      fusionkit merge runs/seeds-0-4 runs/seeds-5-9 --out runs/all

      fusionkit merge runs/from-the-cluster --out runs/regions
    """
    with reporting(debug, interrupted=RESUMABLE):
        merged, results = api.merge(others, folder)
        print_line(
            f"{len(merged.heads)} heads and {len(merged.cells)} cells copied; "
            f"{len(results.rows)} rows in {folder}/results.csv"
        )
        print_labelled("warning", merged.warnings(folder))
