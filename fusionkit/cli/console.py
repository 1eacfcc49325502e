"""Output of commands: two consoles, lines with a label, summaries, and errors as one line with an exit code."""

from __future__ import annotations

import ctypes
import io
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.segment import Segment
from rich.text import Text

from fusionkit.errors import (
    CellError,
    ConfigError,
    FusionKitError,
    FusionKitWarning,
    StorageError,
    printable,
    shortened,
    watched_interrupts,
)

if TYPE_CHECKING:
    from rich.table import Table

    from fusionkit.api import Summary

_STDOUT, _STDERR = 1, 2
_MIN_WIDTH = 20  # columns; a smaller number in COLUMNS is no terminal's
_DEFAULT_WIDTH = 80
_UNLIMITED = 10_000
_PIPED_WIDTH = 140  # output that is piped into a file is not folded at the 80 columns of a default terminal


class _Console(Console):
    """A console that prints names of files and classes without control characters, which a terminal would obey."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield segments with printable text."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text, keep="\n"), segment.style)

    def render_str(self, text: str, **how: Any) -> Text:
        """Return printable text, so that a column of a table is as wide as what is printed."""
        return super().render_str(printable(text, keep="\n"), **how)


def _given_width() -> int | None:
    """Return the number of columns in the environment; None without one."""
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdecimal() else None


def _console(*, stderr: bool) -> Console:
    width = _given_width()
    if width is None:
        width = None if _is_terminal(sys.stdout) else _PIPED_WIDTH
    elif width < _MIN_WIDTH:
        width = _DEFAULT_WIDTH
    return _Console(stderr=stderr, width=width, emoji=False)  # `x.csv:100: ...` is no :100:


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def prepare_streams() -> None:
    """Make output safe: a closed stream is discarded, and what its encoding lacks is escaped."""
    width = _given_width()
    if width is not None and width < _MIN_WIDTH:
        del os.environ["COLUMNS"]  # Typer would print an empty help
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if _is_open(sys.stdout, _STDOUT) and isinstance(sys.stdout, io.TextIOWrapper):
        terminal, encoding = sys.stdout.isatty(), sys.stdout.encoding
        sys.stdout = Output(sys.stdout.detach(), encoding, "backslashreplace", line_buffering=terminal)
        sys.__stdout__ = sys.stdout  # type: ignore[misc]  # the former has no buffer any more


out = _console(stderr=False)
err = _console(stderr=True)

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
        with watched_interrupts(), warnings.catch_warnings(), _stdout_of_commands():
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


@contextmanager
def _stdout_of_commands() -> Iterator[None]:
    """Send what plugins print to stderr, from Python or native code: stdout has the output of the command only."""
    with _own_stdout() as stream:
        out.file = stream
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            out.file = None  # type: ignore[assignment]  # stdout, whatever it is then


@contextmanager
def _own_stdout() -> Iterator[TextIO]:
    """Yield a stream to the output of this process, whose file descriptor 1 is that of stderr meanwhile."""
    shown = sys.stdout
    if not (isinstance(shown, io.TextIOWrapper) and _is_open(shown, _STDOUT) and _is_open(sys.stderr, _STDERR)):
        yield shown  # of a test or a notebook, or closed
        return
    shown.flush()
    own = os.dup(_STDOUT)
    stream = Output(os.fdopen(own, "wb"), shown.encoding, shown.errors, line_buffering=shown.isatty())
    os.dup2(_STDERR, _STDOUT)
    try:
        yield stream
        stream.flush()
    finally:
        _flush_native()
        os.dup2(own, _STDOUT)
        with suppress(OSError, StorageError):  # of an error that was raised before
            stream.close()


class Output(io.TextIOWrapper):
    """Standard output. That it cannot be written, such as to a full disk, is an error of the user's storage."""

    def write(self, text: str) -> int:
        """Write a text."""
        with _storage_errors():
            return super().write(text)

    def flush(self) -> None:
        """Write what is held."""
        with _storage_errors():
            super().flush()


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # its reader needs no more
        raise
    except OSError as error:
        raise StorageError(f"standard output cannot be written: {error.strerror}") from error


def _is_open(stream: TextIO, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor
    except (OSError, ValueError, AttributeError):
        return False


def _flush_native() -> None:
    """Write what native code has printed and its C library holds."""
    with suppress(OSError, TypeError, AttributeError):  # Windows has no such library
        ctypes.CDLL(None).fflush(None)


def print_error(error: FusionKitError) -> None:
    """Print one line per problem, the hint at the end of the last."""
    problems = error.problems if isinstance(error, ConfigError) else [Exception.__str__(error)]
    for problem in problems:
        hint = f" [dim]({escape(printable(error.hint))})[/]" if error.hint and problem == problems[-1] else ""
        err.print(f"[bold red]error:[/] {escape(printable(shortened(problem)))}{hint}", soft_wrap=True)


def print_line(text: str) -> None:
    """Print plain text to stdout, on one line however long it is."""
    out.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def print_text(text: str) -> None:
    """Print a text to stdout unchanged, such as a LaTeX table."""
    typer.echo(text, file=out.file, nl=False)


def print_note(text: str) -> None:
    """Print plain text to stderr, on one line however long it is."""
    err.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def print_labelled(label: str, texts: Iterable[str]) -> None:
    """Print ``label: text`` to stderr for each text, the label in colour."""
    for text in texts:
        err.print(
            f"[{_COLOURS.get(label, 'yellow')}]{label}:[/] {escape(printable(text))}", highlight=False, soft_wrap=True
        )


def print_table(table: Table) -> None:
    """Print a table; in a terminal that is too narrow for it, lines are longer instead of cut."""
    terminal = out.width
    out.width = max(terminal, _least_width(table))
    try:
        out.print(table, crop=False, soft_wrap=False)
    finally:
        out.width = terminal


def _least_width(table: Table) -> int:
    """Return the columns of a terminal that show every cell: a column may be narrower only where its text is folded."""
    options = out.options.update(max_width=_UNLIMITED)
    total = 0
    for column in table.columns:
        cells = [Measurement.get(out, options, cell) for cell in (column.header, *column.cells)]
        if column.no_wrap:
            least = max(cell.maximum for cell in cells)
        else:
            least = 1 if column.overflow == "fold" else max(cell.minimum for cell in cells)
        total += max(least, column.min_width or 0)
    return total + 2 * (len(table.columns) - 1)  # space between columns


def print_summary(summary: Summary) -> None:
    """Print the tables, sentences, caption and warnings of a result."""
    for table in summary.tables:
        out.print()
        print_table(table)
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
    return _is_terminal(sys.stderr)
