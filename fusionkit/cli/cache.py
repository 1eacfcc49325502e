"""``fusionkit cache``: list or delete stored embeddings."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import print_line, print_table, reporting

_DAY = 86_400.0  # s


def cache(
    prune: Annotated[bool, typer.Option("--prune", help="Delete the listed embeddings.")] = False,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", min=0, help="Minimum number of days since the last use.")
    ] = 0.0,
    debug: options.Debug = False,
) -> None:
    """List stored embeddings with size and age, or delete them.

    Run folders do not need stored embeddings. A deleted embedding is computed again when a new head needs it.

    Examples:

      fusionkit cache

      fusionkit cache --prune --older-than 30
    """
    with reporting(debug):
        entries = api.prune_cache(older_than) if prune else api.cache_entries(older_than)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("key", "size", "days unused", "embedding"):
            table.add_column(column, justify="right" if column in ("size", "days unused") else "left")
        now = time.time()
        for entry in entries:
            days = f"{max(now - entry.used, 0.0) / _DAY:.1f}"
            table.add_row(entry.key[:8], decimal(entry.size), days, escape(entry.about))
        if entries:
            print_table(table)
        total = decimal(sum(entry.size for entry in entries))
        print_line(f"{'deleted ' if prune else ''}{len(entries)} embeddings, {total}, in {api.cache_folder()}")
