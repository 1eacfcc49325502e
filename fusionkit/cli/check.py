"""``fusionkit check``: check components against the contract of their kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fusionkit import api
from fusionkit.cli import completion, options
from fusionkit.cli.console import (
    FAILED,
    err,
    is_interactive,
    out,
    print_labelled,
    print_note,
    print_table,
    reporting,
)

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
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Time limit of one check.", show_default=True)
    ] = 120.0,
    debug: options.Debug = False,
) -> None:
    """Check components against the contract of their kind, with each of their example option sets.

    The exit code is 1 if a check fails. Skipped checks and expected failures are listed with the reason. Each component
    is checked in a process of its own with limited memory, so a component that is too large or hangs fails one check.

    Examples:

      fusionkit check gated_sum.py

      fusionkit check my-package

      fusionkit check concat smoothers/none backbones/hog:size=32

      fusionkit check --plugin gated_sum.py fusions/gated-sum
    """
    with reporting(debug), _progress() as (started, finished):
        results = api.check_components(
            targets, plugins=plugin or (), timeout=timeout, started=started, finished=finished
        )
    _print_counts(results)
    for outcome in ("skipped", "expected failure", "failed"):
        _print_reasons([result for result in results if result.outcome == outcome], outcome)
    counts = Counter(result.outcome for result in results)
    parts = [f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "expected failure", "skipped")]
    out.print(f"\n{len(results)} checks: {', '.join(parts)}")
    if counts["failed"]:
        raise typer.Exit(FAILED)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str, str, str], object], Callable[[CheckResult], object]]]:
    """Yield functions that show, on stderr, each component or check when it starts and each failure at once."""
    with err.status("") if is_interactive() else nullcontext() as status:
        seen: set[tuple[str, str]] = set()

        def started(kind: str, spec: str, check: str) -> None:
            if status is not None:
                status.update(f"{kind} {escape(spec)}: {check}")
            elif (kind, spec) not in seen:
                seen.add((kind, spec))
                print_note(f"checking {kind} {spec}")

        def finished(result: CheckResult) -> None:
            if result.outcome == "failed":
                print_labelled("failed", [f"{result.component}: {result.check}: {result.message}"])

        yield started, finished


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
