"""How commands are shown and refused: help as wide as the terminal; what was mistyped in one line."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import typer
from typer.core import TyperGroup

from fusionkit.cli.console import REFUSED, tell
from fusionkit.errors import ConfigError
from fusionkit.registry import did_you_mean


class Commands(TyperGroup):
    """The commands. What Typer refuses is told in one line, where Typer itself draws a box below the usage."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for command in self.commands.values():
            command.help = _flowing(command.help or "")

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line and exit; without ``standalone_mode`` what is wrong is raised."""
        run = partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        try:
            code = run()
        except typer.Abort:
            code = 1
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            code = REFUSED
            if message := _message(error):
                tell(ConfigError(message, hint=_where_to_look(error)))
        sys.exit(code)


def _flowing(text: str) -> str:
    """A docstring whose paragraphs are as wide as the terminal: Typer would keep the line ends of the source."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(each if each.startswith(" ") else " ".join(each.split()) for each in paragraphs)


def _message(error: Any) -> str:
    option = getattr(error, "option_name", "")
    if option and hasattr(error, "possibilities"):
        return f"no such option {option}{did_you_mean(option, error.possibilities or ())}"
    said = " ".join(error.format_message().split()).removesuffix(".").replace("Value error, ", "")
    return said[:1].lower() + said[1:]


def _where_to_look(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path} --help" if context else ""
