"""``fusionkit list``: what is there to combine."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from fusionkit.cli import completion
from fusionkit.cli.console import out, reporting
from fusionkit.cli.options import Debug, Plugins
from fusionkit.errors import ConfigError
from fusionkit.registry import REGISTRIES, Origin, did_you_mean


def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="datasets, extractors, backbones, fusions or smoothers.",
            autocompletion=completion.kinds,
        ),
    ] = None,
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="Names to show, with wildcards: 'plain-*'.")] = "*",
    plugin: Plugins = None,
    long: Annotated[bool, typer.Option("--long", help="With summary, tags and reference; imports them.")] = False,
    brought_by: Annotated[str, typer.Option("--from", metavar="PACKAGE", help="Only those of this distribution.")] = "",
    form: Annotated[Literal["table", "markdown"], typer.Option("--format", help="Markdown is always long.")] = "table",
    debug: Debug = False,
) -> None:
    """List components by kind, with where they come from. Nothing is imported to list it, unless --long is given.

    Examples:

      fusionkit list

      fusionkit list fusions 'plain-*' --long

      fusionkit list --from fusionkit --format markdown
    """
    with reporting(debug):
        if kind is not None and kind not in REGISTRIES:
            raise ConfigError(f"unknown kind {kind!r}{did_you_mean(kind, REGISTRIES)}; known: {', '.join(REGISTRIES)}")
        if plugin:
            from fusionkit.registry.plugin_file import load_plugin_file

            for path in plugin:
                load_plugin_file(path)
        if form == "markdown":
            from fusionkit.testing.catalogue import entries, markdown

            typer.echo(markdown(list(entries(kind, pattern, brought_by))), nl=False)
        else:
            out.print(_long(kind, pattern, brought_by) if long else _short(kind, pattern, brought_by))


def _short(kind: str | None, pattern: str, brought_by: str) -> Table:
    table = _table("kind", "name", "from")
    for registry_kind, name, origins in _found(kind, pattern, brought_by):
        clash = " [red](claimed twice)[/]" if len(origins) > 1 else ""
        brought = " and ".join(origin.brought_by for origin in origins)
        table.add_row(registry_kind, f"[bold]{escape(name)}[/]", escape(brought) + clash)
    return table


def _long(kind: str | None, pattern: str, brought_by: str) -> Table:
    from fusionkit.testing.catalogue import entries

    table = _table("kind", "name", "from", "tags", "what it is", "reference")
    for each in entries(kind, pattern, brought_by):
        texts = (each.origin.brought_by, ", ".join(each.tags), each.summary, each.reference)
        table.add_row(each.kind, f"[bold]{escape(each.name)}[/]", *map(escape, texts))
    return table


def _found(kind: str | None, pattern: str, brought_by: str) -> Iterator[tuple[str, str, list[Origin]]]:
    for key, registry in REGISTRIES.items():
        for name, origins in registry.origins().items() if kind in (None, key) else ():
            distributions = {origin.distribution.partition(" ")[0] for origin in origins}
            if fnmatch(name, pattern) and (not brought_by or brought_by in distributions):
                yield registry.kind, name, origins


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
