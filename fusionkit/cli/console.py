"""Output of commands: two consoles, lines with a label, summaries, and errors as one line with an exit code."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from fusionkit.errors import (
    CellError,
    ConfigError,
    FusionKitError,
    FusionKitWarning,
    StorageError,
    shortened,
    watched_interrupts,
)

if TYPE_CHECKING:
    from fusionkit.api import Summary

# Output that is piped into a file is not folded at the 80 columns of a default terminal.
_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140

out = Console(width=_WIDTH)
err = Console(stderr=True, width=_WIDTH)

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
RESUMABLE = "Finished work is saved; rerun the command to resume."
_COLOURS = {"error": "bold red", "fault": "bold red", "problem": "bold red", "failed": "red"}


@contextmanager
def reporting(debug: bool, *, interrupted: str = "") -> Iterator[None]:
    """Turn an error raised on purpose into one line and an exit code.

    Args:
        debug: let the error through, with its traceback.
        interrupted: last line after Ctrl-C.
    """
    try:
        with watched_interrupts(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FusionKitWarning)  # the command prints them with a label
            yield
    except KeyboardInterrupt:
        err.print("\n[yellow]Interrupted.[/]")
        if interrupted:
            print_note(interrupted)
        raise typer.Exit(INTERRUPTED) from None
    except FusionKitError as error:
        if debug:
            raise
        print_error(error)
        raise typer.Exit(FAILED if isinstance(error, (CellError, StorageError)) else REFUSED) from None


def print_error(error: FusionKitError) -> None:
    """Print one line per problem, the hint at the end of the last."""
    problems = error.problems if isinstance(error, ConfigError) else [Exception.__str__(error)]
    for problem in problems:
        hint = f" [dim]({escape(error.hint)})[/]" if error.hint and problem == problems[-1] else ""
        err.print(f"[bold red]error:[/] {escape(shortened(problem))}{hint}", soft_wrap=True)


def print_line(text: str) -> None:
    """Print plain text to stdout, on one line however long it is."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def print_note(text: str) -> None:
    """Print plain text to stderr, on one line however long it is."""
    err.print(text, markup=False, highlight=False, soft_wrap=True)


def print_labelled(label: str, texts: Iterable[str]) -> None:
    """Print ``label: text`` to stderr for each text, the label in colour."""
    for text in texts:
        err.print(f"[{_COLOURS.get(label, 'yellow')}]{label}:[/] {escape(text)}", highlight=False, soft_wrap=True)


def print_summary(summary: Summary) -> None:
    """Print the tables, sentences, caption and warnings of a result."""
    for table in summary.tables:
        out.print()
        out.print(table)
    if summary.lines:
        out.print()
    for line in summary.lines:
        print_line(line)
    for line in summary.caption:
        out.print(escape(line), style="dim", highlight=False)
    print_labelled("warning", summary.warnings)


_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_CODE = re.compile(r"``([^`]+)``|`([^`]+)`")


def plain(text: str) -> str:
    """Return a docstring's text without the marks of reStructuredText."""
    return _CODE.sub(lambda found: found[1] or found[2], _ROLE.sub(r"\1", text))


def is_interactive() -> bool:
    """Return whether stderr is a terminal, where progress is drawn as bars."""
    return sys.stderr.isatty()
