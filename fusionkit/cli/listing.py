"""``fusionkit list``: what is there to combine."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fusionkit.cli.console import out, reporting
from fusionkit.errors import ConfigError
from fusionkit.registry import REGISTRIES, ComponentRegistry, did_you_mean


def list_components(
    kind: Annotated[str | None, typer.Argument(help="datasets, extractors, backbones, fusions or smoothers.")] = None,
    pattern: Annotated[str, typer.Argument(help="Names to show, with wildcards: 'plain-*'.")] = "*",
    plugin: Annotated[list[str] | None, typer.Option(help="A Python file that registers components.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List components by kind, with where they come from. Nothing is imported to list it.

    Examples:

      fusionkit list

      fusionkit list fusions 'plain-*'
    """
    with reporting(debug):
        if kind is not None and kind not in REGISTRIES:
            raise ConfigError(f"unknown kind {kind!r}{did_you_mean(kind, REGISTRIES)}; known: {', '.join(REGISTRIES)}")
        if plugin:
            from fusionkit.plugin_file import load_plugin_file

            for path in plugin:
                load_plugin_file(path)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("kind", "name", "from"):
            table.add_column(column)
        for name, registry in REGISTRIES.items():
            if kind in (None, name):
                _add(table, registry, pattern)
        out.print(table)


def _add(table: Table, registry: ComponentRegistry, pattern: str) -> None:
    for name, origins in registry.origins().items():
        if fnmatch(name, pattern):
            clash = " [red](claimed twice)[/]" if len(origins) > 1 else ""
            brought = " and ".join(origin.brought_by for origin in origins)
            table.add_row(registry.kind, f"[bold]{escape(name)}[/]", escape(brought) + clash)
