"""``fusionkit merge``: run folders on the same data and split, united in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from fusionkit.cli.console import err, out, reporting
from fusionkit.cli.options import Debug

if TYPE_CHECKING:
    from fusionkit.grid.merge import Merged

_SHOWN = 5  # names a line


def merge(
    others: Annotated[list[Path], typer.Argument(metavar="OTHER", help="Run folders; they stay as they are.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder that becomes the union.")],
    debug: Debug = False,
) -> None:
    """Take run folders into another: a grid that ran in parts, on several machines or with some seeds each.

    All must be on the same data and split. What is merged is not run again; where two hold the same, DIR's is kept.

    Examples:

      fusionkit merge runs/seeds-0-4 runs/seeds-5-9 --out runs/all

      fusionkit merge runs/from-the-cluster --out runs/regions
    """
    with reporting(debug):
        from fusionkit.api import merge as unite

        merged, results = unite(others, folder)
        out.print(
            f"{len(merged.heads)} heads and {len(merged.cells)} cells copied; "
            f"{len(results.rows)} rows in {folder}/results.csv",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        for line in warnings(merged, folder):
            err.print(f"[yellow]warning:[/] {escape(line)}", soft_wrap=True)


def warnings(merged: Merged, folder: Path) -> list[str]:
    """What did not come along, and what is left to do."""
    found = []
    if merged.damaged:
        found.append(f"{len(merged.damaged)} damaged and not copied: {_named(merged.damaged)}")
    if merged.left_out:
        found.append(
            f"{len(merged.left_out)} rows left out, since {folder} has them made by other code or on another kind of "
            f"device (merged the other way round, theirs stay): {_named(merged.left_out)}"
        )
    if merged.unscored:
        found.append(
            f"{len(merged.unscored)} rows must be scored again: run the grid once in {folder} "
            f"(fusionkit bench ... --out {folder}): {_named(merged.unscored)}"
        )
    return found


def _named(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
