"""What commands share: where they print, and how an error becomes one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from fusionkit.errors import CellError, ConfigError, FusionKitError, StorageError

# What is piped into a file is not folded at the 80 columns that a terminal would have.
_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 140

out = Console(width=_WIDTH)
err = Console(stderr=True, width=_WIDTH)

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


@contextmanager
def reporting(
    debug: bool, *, code: int = REFUSED, kept: str = "what is finished is kept: the same command goes on from here"
) -> Iterator[None]:
    """Turn an error raised on purpose into its line and an exit code; ``debug`` lets it through with its traceback.

    Args:
        debug: show the traceback.
        code: the exit code of a refused request.
        kept: what is left of the work when it is interrupted.
    """
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"\n[yellow]interrupted[/]; {kept}")
        raise typer.Exit(INTERRUPTED) from None
    except FusionKitError as error:
        if debug:
            raise
        tell(error)
        raise typer.Exit(FAILED if isinstance(error, (CellError, StorageError)) else code) from None


def tell(error: FusionKitError) -> None:
    """Print an error: a line a problem, and the hint."""
    problems = error.problems if isinstance(error, ConfigError) else [Exception.__str__(error)]
    for problem in problems:
        hint = f" [dim]({escape(error.hint)})[/]" if error.hint and problem == problems[-1] else ""
        err.print(f"[bold red]error:[/] {escape(problem)}{hint}", soft_wrap=True)


def is_interactive() -> bool:
    """Whether somebody is looking: progress is drawn, not written line by line."""
    return sys.stderr.isatty()
