"""``fusionkit check``: check components against the contract of their kind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fusionkit import api
from fusionkit.cli import completion, options
from fusionkit.cli.console import FAILED, err, is_interactive, out, print_table, reporting

if TYPE_CHECKING:
    from fusionkit.api import CheckResult

_COLOURS = {"failed": "red", "expected failure": "yellow", "skipped": "dim"}


def check(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="Component with or without options, package, or Python file.",
            autocompletion=completion.component,
        ),
    ],
    plugin: options.Plugins = None,
    debug: options.Debug = False,
) -> None:
    """Check components against the contract of their kind, with each of their example option sets.

    The exit code is 1 if a check fails. Skipped checks and expected failures are listed with the reason.

    Examples:

      fusionkit check gated_sum.py

      fusionkit check my-package

      fusionkit check concat smoothers/none backbones/hog:size=32

      fusionkit check --plugin gated_sum.py fusions/gated-sum
    """
    with reporting(debug):
        if is_interactive():
            with err.status("") as status:
                results = api.check_components(
                    targets,
                    plugins=plugin or (),
                    started=lambda kind, spec: status.update(f"{kind} {escape(spec)}"),
                )
        else:
            results = api.check_components(targets, plugins=plugin or ())
    _print_counts(results)
    for outcome in ("skipped", "expected failure", "failed"):
        _print_reasons([result for result in results if result.outcome == outcome], outcome)
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "expected failure", "skipped")]
    out.print(f"\n{len(results)} checks: {', '.join(parts)}")
    if counts["failed"]:
        raise typer.Exit(FAILED)


def _print_counts(results: list[CheckResult]) -> None:
    """Print one line per component."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("kind", "component"):
        table.add_column(column, overflow="fold")
    for column in ("passed", "failed", "expected", "skipped", "seconds"):
        table.add_column(column, justify="right")
    for kind, component in dict.fromkeys((result.kind, result.component) for result in results):
        own = [result for result in results if (result.kind, result.component) == (kind, component)]
        counts = Counter(result.outcome for result in own)
        failed = f"[bold red]{counts['failed']}[/]" if counts["failed"] else "0"
        seconds = f"{sum(result.seconds for result in own):.1f}"
        numbers = (str(counts["passed"]), failed, str(counts["expected failure"]), str(counts["skipped"]), seconds)
        table.add_row(kind, f"[bold]{escape(component)}[/]", *numbers)
    print_table(table)


def _print_reasons(results: list[CheckResult], outcome: str) -> None:
    """Print one line per reason: checks, reason, components."""
    components: dict[tuple[str, str], list[str]] = {}
    for result in results:
        components.setdefault((result.check, result.message), []).append(result.component)
    checks: dict[tuple[str, str], list[str]] = {}
    for (name, message), found in components.items():
        checks.setdefault((message, ", ".join(dict.fromkeys(found))), []).append(name)
    if checks:
        out.print(f"\n[bold]{outcome}[/]")
    for (message, concerned), names in checks.items():
        line = f"  [{_COLOURS[outcome]}]{', '.join(names)}[/]: {escape(message)} [dim]({escape(concerned)})[/]"
        out.print(line, highlight=False, soft_wrap=True)
