"""``fusionkit cache``: what the embedding cache holds, and the pruning of it."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from fusionkit.cli.console import out, reporting
from fusionkit.cli.options import Debug

_DAY = 86_400.0


def cache(
    prune: Annotated[bool, typer.Option("--prune", help="Delete the embeddings that are listed.")] = False,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", min=0, help="Only those not used for this many days.")
    ] = 0.0,
    debug: Debug = False,
) -> None:
    """List the stored embeddings with size and age, or delete them.

    Run folders do not need them: what is deleted is made anew when a new head asks for it.

    Examples:

      fusionkit cache

      fusionkit cache --prune --older-than 30
    """
    with reporting(debug):
        from fusionkit.storage.embeddings import EmbeddingStore, cache_folder

        store = EmbeddingStore(cache_folder())
        now = time.time()
        entries = [entry for entry in store.entries() if now - entry.used >= older_than * _DAY]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("key", "size", "days unused", "embedding"):
            table.add_column(column, justify="right" if column in ("size", "days unused") else "left")
        for entry in entries:
            days = f"{max(now - entry.used, 0.0) / _DAY:.1f}"
            table.add_row(entry.key[:8], decimal(entry.size), days, escape(entry.about))
            if prune:
                store.remove(entry)
        if entries:
            out.print(table)
        total = decimal(sum(entry.size for entry in entries))
        out.print(f"{'deleted ' if prune else ''}{len(entries)} embeddings, {total}, in {store.root}", markup=False)
