"""``fusionkit list``: list components."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from fusionkit import api
from fusionkit.cli import completion, options
from fusionkit.cli.console import plain, print_table, print_text, reporting


def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="Kind: datasets, extractors, backbones, fusions or smoothers. Default: all kinds.",
            autocompletion=completion.kinds,
        ),
    ] = None,
    pattern: Annotated[
        str, typer.Argument(metavar="PATTERN", help="Names to list, with wildcards, as 'plain-*'.")
    ] = "*",
    plugin: options.Plugins = None,
    long: Annotated[
        bool, typer.Option("--long", help="Add summary, tags and reference; this imports the components.")
    ] = False,
    package: Annotated[
        str, typer.Option("--from", metavar="PACKAGE", help="Only components of this package. Default: all packages.")
    ] = "",
    form: Annotated[
        Literal["table", "markdown"], typer.Option("--format", help="Output format; markdown implies --long.")
    ] = "table",
    debug: options.Debug = False,
) -> None:
    """List components by kind, with the package of each.

    Nothing is imported, except with --long or --format markdown. A component that failed conformance checks before its
    first bench has a mark; fusionkit check shows the details.

    Examples:

      fusionkit list

      fusionkit list fusions 'plain-*' --long

      fusionkit list --from fusionkit --format markdown
    """
    with reporting(debug):
        if form == "markdown":
            entries = api.catalogue(kind, pattern, package=package, plugins=plugin or ())
            print_text(api.markdown_catalogue(entries))
        elif long:
            print_table(_long_table(api.catalogue(kind, pattern, package=package, plugins=plugin or ())))
        else:
            print_table(_short_table(api.list_components(kind, pattern, package=package, plugins=plugin or ())))


def _short_table(found: list[tuple[str, str, list[api.Origin]]]) -> Table:
    table, failed = _table("kind", "name", "from"), api.failed_checks()
    for kind, name, origins in found:
        clash = " [red](claimed twice)[/]" if len(origins) > 1 else ""
        packages = " and ".join(origin.provider for origin in origins)
        mark = _mark([check for origin in origins for check in failed.get((kind, origin.target), ())])
        table.add_row(kind, f"[bold]{escape(name)}[/]", escape(packages) + clash + mark)
    return table


def _long_table(entries: list[api.Entry]) -> Table:
    table = _table("kind", "name", "from", "tags", "summary", "reference")
    failed = api.failed_checks()
    for each in entries:
        mark = _mark(failed.get((each.kind, each.origin.target), []))
        texts = (", ".join(each.tags), plain(each.summary), plain(each.reference))
        name = f"[bold]{escape(each.name)}[/]"
        table.add_row(each.kind, name, escape(each.origin.provider) + mark, *map(escape, texts))
    return table


def _mark(failed: list[str]) -> str:
    """Return a mark with the number of failed checks; empty without one."""
    return f" [red](fails {len(failed)} check{'s' * (len(failed) > 1)})[/]" if failed else ""


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
