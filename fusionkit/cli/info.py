"""``fusionkit info``: what a component does, and its options; and those of the recipe."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer
from rich.markup import escape
from rich.padding import Padding

from fusionkit.cli import completion
from fusionkit.cli.console import out, reporting
from fusionkit.cli.options import Debug, Plugins
from fusionkit.errors import ConfigError
from fusionkit.registry import REGISTRIES, ComponentRegistry, did_you_mean
from fusionkit.registry.options import Option, options_of


def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A component's name, or kind/name where kinds share it; or recipe.",
            autocompletion=completion.component,
        ),
    ],
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Describe a component (summary, shapes, tags, options, reference, origin), or how heads are trained: ``recipe``.

    Examples:

      fusionkit info concat

      fusionkit info smoothers/none

      fusionkit info recipe
    """
    with reporting(debug):
        for path in plugin or ():
            from fusionkit.registry.plugin_file import load_plugin_file

            load_plugin_file(path)
        if name == "recipe":
            _describe_recipe()
            return
        for registry in _having(name):
            _describe(registry, name.rpartition("/")[2])


def _having(name: str) -> list[ComponentRegistry]:
    kind, _, bare = name.rpartition("/")
    found = [
        registry
        for key, registry in REGISTRIES.items()
        if kind in ("", key, registry.kind) and bare in registry.names()
    ]
    if not found:
        known = sorted({known for registry in REGISTRIES.values() for known in registry.names()})
        raise ConfigError(f"unknown component {name!r}{did_you_mean(bare, known)}", hint="fusionkit list")
    return found


def _describe(registry: ComponentRegistry, name: str) -> None:
    from fusionkit.testing.catalogue import entry

    found = entry(registry, name)
    brought = f"{escape(found.origin.brought_by)} ({escape(found.origin.target)})"
    out.print(f"[bold]{escape(name)}[/]  {registry.kind} from {brought}\n")
    out.print(escape(found.description), highlight=False)
    out.print(f"\nshapes  {escape(found.shapes)}", highlight=False)
    if found.tags:
        out.print(f"tags    {escape(', '.join(found.tags))}", highlight=False)
    for check, reason in found.cls.expected_failures.items():
        out.print(f"known to fail {escape(check)}: {escape(reason)}", highlight=False)
    _show_options(found.options, found.explained)


def _describe_recipe() -> None:
    from fusionkit.config.recipe import Recipe
    from fusionkit.testing.documentation import explanations, without_args

    out.print("[bold]recipe[/]  of training, as --recipe key=value takes it\n")
    out.print(escape(without_args(inspect.getdoc(Recipe) or "")), highlight=False)
    _show_options(tuple(options_of(Recipe).values()), explanations(Recipe))


def _show_options(options: tuple[Option, ...], explained: dict[str, str]) -> None:
    out.print("\n[bold]options[/]" if options else "\nno options\n")
    for option in options:
        default = "[yellow]required[/]" if option.required else f"= {escape(repr(option.default))}"
        out.print(f"  [bold]{escape(option.name)}[/]: {escape(option.type_name)} {default}", highlight=False)
        out.print(Padding(escape(explained.get(option.name, "")), (0, 0, 0, 6), expand=False), highlight=False)
