"""Commands of fusionkit, called in the process of the test."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from fusionkit.cli import app


def call(*words: str | Path, columns: int = 140) -> Result:
    """Run a command and return exit code and output."""
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": str(columns)})


def output_of(*words: str | Path) -> str:
    """Run a command that must succeed, and return its output."""
    result = call(*words)
    assert result.exit_code == 0, f"{words}: {result.output}"
    return result.output


def refusal_of(*words: str | Path) -> str:
    """Run a command that must be refused in one line, and return the line."""
    result = call(*words)
    assert result.exit_code == 2, f"{words}: {result.output}"
    (line,) = result.output.strip().splitlines()
    assert line.startswith("error: ")
    return line
