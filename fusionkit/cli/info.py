"""``fusionkit info``: describe a component and its options, or the sections of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.padding import Padding

from fusionkit import api
from fusionkit.cli import completion, options
from fusionkit.cli.console import out, plain, reporting

if TYPE_CHECKING:
    from fusionkit.api import Documented, Entry


def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of a component, or kind/name if two kinds share the name; or recipe, finetune or pretrain.",
            autocompletion=completion.component,
        ),
    ],
    plugin: options.Plugins = None,
    debug: options.Debug = False,
) -> None:
    """Describe a component: summary, shapes, tags, options, reference and origin.

    The name recipe describes the training recipe of heads (optimiser, epochs, loss); finetune and pretrain describe the
    sections of a config of that command.

    Examples:

      fusionkit info concat

      fusionkit info smoothers/none

      fusionkit info recipe

      fusionkit info finetune
    """
    with reporting(debug):
        if name == "recipe":
            out.print("[bold]recipe[/]  of training, given as --recipe key=value\n")
            _print_documented(api.describe_sections()["recipe"])
            return
        if name in ("finetune", "pretrain"):
            for key, section in api.describe_sections(name).items():
                out.print(f"[bold]{key}[/]  of fusionkit {name}, given as --set {key}.option=value\n")
                _print_documented(section)
                out.print()
            return
        for entry in api.describe(name, plugins=plugin or ()):
            _print_entry(entry)


def _print_entry(entry: Entry) -> None:
    origin = f"{escape(entry.origin.provider)} ({escape(entry.origin.target)})"
    out.print(f"[bold]{escape(entry.name)}[/]  {entry.kind} from {origin}\n")
    facts = [f"shapes  {entry.shapes}"]
    if entry.tags:
        facts.append(f"tags    {', '.join(entry.tags)}")
    facts += [f"known to fail {check}: {reason}" for check, reason in entry.cls.expected_failures.items()]
    _print_documented(entry, facts)


def _print_documented(found: Documented, facts: list[str] | None = None) -> None:
    """Print the docstring, facts, and each option with type, default and effect."""
    out.print(escape(plain(found.description)), highlight=False)
    if facts:
        out.print()
    for fact in facts or ():
        out.print(escape(plain(fact)), highlight=False)
    out.print("\n[bold]options[/]" if found.options else "\nno options\n")
    for option in found.options:
        default = "[yellow]required[/]" if option.required else f"= {escape(repr(option.default))}"
        out.print(f"  [bold]{escape(option.name)}[/]: {escape(option.type_name)} {default}", highlight=False)
        text = escape(plain(found.explained.get(option.name, "")))
        out.print(Padding(text, (0, 0, 0, 6), expand=False), highlight=False)
