"""Help as wide as the terminal, and usage errors on one line."""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from fusionkit.cli.console import FAILED, REFUSED, print_error
from fusionkit.errors import ConfigError, StorageError


class Commands(TyperGroup):
    """A group of commands. A usage error is one line; Typer itself draws a box below the usage."""

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
        """Run a command line and exit; without ``standalone_mode`` raise usage errors."""
        run = partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        try:
            code = run()
        except typer.Abort:
            code = 1
        except StorageError as error:  # help or version, onto a full disk
            code = FAILED
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # what is held is not tried again
            print_error(error)
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            code = REFUSED
            if message := _message(error):
                context = getattr(error, "ctx", None)
                print_error(ConfigError(message, hint=f"{context.command_path} --help" if context else ""))
        sys.exit(code)


def _flowing(text: str) -> str:
    """Join the lines of each paragraph; Typer keeps the line ends of the source."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(each if each.startswith(" ") else " ".join(each.split()) for each in paragraphs)


def _message(error: Any) -> str:
    option = getattr(error, "option_name", "")
    if option and hasattr(error, "possibilities"):
        near = difflib.get_close_matches(option, error.possibilities or (), n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else _of_the_recipe(option, getattr(error, "ctx", None))
        return f"no such option {option}{meant}"
    text = " ".join(error.format_message().split()).removesuffix(".").replace("Value error, ", "")
    return text[:1].lower() + text[1:]


def _of_the_recipe(option: str, context: Any) -> str:
    """Return how an option of the training recipe is given, if the command has one and it is that."""
    name = option.lstrip("-").replace("-", "_")
    if not any("--recipe" in parameter.opts for parameter in (context.command.params if context else ())):
        return ""
    from fusionkit import api

    known = [each.name for each in api.describe_sections()["recipe"].options]
    return f" (write --recipe {name}=...)" if name in known else ""
