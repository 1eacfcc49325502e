"""``fusionkit merge``: merge run folders on the same data and split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import RESUMABLE, first_of, print_labelled, print_line, reporting

if TYPE_CHECKING:
    from fusionkit.api import Merged


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
        print_labelled("warning", _warnings(merged, folder))


def _warnings(merged: Merged, folder: Path) -> list[str]:
    found = []
    if merged.damaged:
        found.append(f"{len(merged.damaged)} damaged and not copied: {first_of(merged.damaged)}")
    if merged.left_out:
        found.append(
            f"{len(merged.left_out)} rows not copied, because {folder} holds them from other code or another kind of "
            f"device; merge in the other direction to keep the others: {first_of(merged.left_out)}"
        )
    if merged.unscored:
        found.append(
            f"{len(merged.unscored)} rows must be scored again; run the grid once in {folder} "
            f"(fusionkit bench ... --out {folder}): {first_of(merged.unscored)}"
        )
    return found
