"""``fusionkit doctor``: examine the installation."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fusionkit import api
from fusionkit.cli.console import FAILED, out, print_table, print_text, reporting

if TYPE_CHECKING:
    from fusionkit.api import Finding

_COLOURS = {"ok": "green", "absent": "dim", "warning": "yellow", "broken": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for a bug report.")] = False,
) -> None:
    """Examine versions, machine, folders, plugins and weights.

    Each finding that is not ok has advice. The exit code is 1 if something is broken. Nothing is downloaded, and the
    path of the home folder is not shown.

    Examples:

      fusionkit doctor

      fusionkit doctor --json > doctor.json
    """
    with reporting(debug=False):
        found = api.doctor()
        if as_json:
            print_text(json.dumps([asdict(finding) for finding in found], indent=1) + "\n")
        else:
            _print(found)
    if any(finding.state == "broken" for finding in found):
        raise typer.Exit(FAILED)


def _print(found: list[Finding]) -> None:
    for topic in dict.fromkeys(finding.topic for finding in found):
        table = Table(
            box=None, pad_edge=False, show_header=False, title=topic, title_justify="left", title_style="bold"
        )
        table.add_column(width=7)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold", ratio=1)
        for finding in found:
            if finding.topic == topic:
                advice = f"\n[bold]-> {escape(finding.advice)}[/]" if finding.advice else ""
                state = f"[{_COLOURS[finding.state]}]{finding.state}[/]"
                table.add_row(state, escape(finding.name), escape(finding.value) + advice)
        print_table(table)
        out.print()
    counts = {state: sum(finding.state == state for finding in found) for state in _COLOURS}
    out.print(f"{counts['broken']} broken, {counts['warning']} warning(s), {counts['ok']} ok", highlight=False)
