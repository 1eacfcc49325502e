"""``fusionkit check``: whether components keep the promises of their kind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fusionkit.cli import completion
from fusionkit.cli.console import FAILED, err, is_interactive, out, reporting
from fusionkit.cli.options import Debug

if TYPE_CHECKING:
    from fusionkit.testing import CheckResult

_COLOURS = {"failed": "red", "expected failure": "yellow", "skipped": "dim"}


def check(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="A component's name or SPEC, a package, or a Python file.",
            autocompletion=completion.component,
        ),
    ],
    debug: Debug = False,
) -> None:
    """Check components against the contract of their kind, with each of their example option sets.

    The exit code is 1 where a check fails. What was skipped, or is expected to fail, is listed with the reason.

    Examples:

      fusionkit check gated_sum.py

      fusionkit check my-package

      fusionkit check concat smoothers/none backbones/hog:size=32
    """
    with reporting(debug):
        from fusionkit.testing import check_component
        from fusionkit.testing.targets import components_of

        named = list(dict.fromkeys(found for target in targets for found in components_of(target)))
        results: list[CheckResult] = []
        for kind, spec in named:
            if is_interactive():
                with err.status(f"{kind} {escape(spec)}"):
                    results += check_component(kind, spec)
            else:
                results += check_component(kind, spec)
    _show(results)
    if any(result.outcome == "failed" for result in results):
        raise typer.Exit(FAILED)


def _show(results: list[CheckResult]) -> None:
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
    out.print(table)
    for outcome in ("skipped", "expected failure", "failed"):
        _list([result for result in results if result.outcome == outcome], outcome)
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "expected failure", "skipped")]
    out.print(f"\n{len(results)} checks: {', '.join(parts)}")


def _list(results: list[CheckResult], outcome: str) -> None:
    """One line for each reason: which checks, why, and of whom."""
    concerned: dict[tuple[str, str], list[str]] = {}
    for result in results:
        concerned.setdefault((result.check, result.message), []).append(result.component)
    checks: dict[tuple[str, str], list[str]] = {}
    for (name, message), components in concerned.items():
        checks.setdefault((message, ", ".join(dict.fromkeys(components))), []).append(name)
    if checks:
        out.print(f"\n[bold]{outcome}[/]")
    for (message, whom), names in checks.items():
        line = f"  [{_COLOURS[outcome]}]{', '.join(names)}[/]: {escape(message)} [dim]({escape(whom)})[/]"
        out.print(line, highlight=False, soft_wrap=True)
