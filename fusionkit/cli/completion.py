"""Shell completion: components with their options, views, configs and rows of a run.

In a comma-separated list the last item is completed. Only the options of a component import anything heavy.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import typer

from fusionkit import api
from fusionkit.errors import expanded

REGIONS = ("brow", "eye", "mouth", "nose")  # of the default extractor
DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")

Completer = Callable[[str], list[str]]


def components(kind: str) -> Completer:
    """Complete each item of a comma-separated list with names of a kind (plural), after a colon with their options."""

    def complete(incomplete: str) -> list[str]:
        start, _, last = incomplete.rpartition(",")
        name, option = _component_and_option(start, last)
        found = [] if option != last or "=" in last else _starting(last, api.component_names(kind))
        head = incomplete.removesuffix(option if name else last)
        found += _options(kind, name, option, swept="[" in start) if name else []
        return [f"{head}{text}" for text in found]

    return complete


def _component_and_option(start: str, last: str) -> tuple[str, str]:
    """Return the component whose option is typed, or no name, and the text of the option.

    Args:
        start: the items before the last comma.
        last: the item after it; without a colon it may go on with the options of the component before it.
    """
    name, colon, option = last.partition(":")
    if colon and "=" not in name:
        return name, option
    named = [item.partition(":")[0] for item in start.split(",") if ":" in item.partition("=")[0]]
    return (named[-1], last) if named else ("", last)


def _options(kind: str, name: str, text: str, *, swept: bool) -> list[str]:
    """Complete one option of a component: its name, or after ``=`` its value."""
    known = api.component_options(kind, name)
    option, equals, value = text.partition("=")
    if equals:
        values = known.get(option, [])
        return [f"{option}={each}" for each in (_paths(value) if values is None else _starting(value, values))]
    # With a value beside it, the shell stops after `=` and adds no space.
    found = [f"{each}={value}" for each, values in known.items() for value in ("", *_first(values))]
    return _starting(text, [*found, *(["select=dev"] if swept and kind in ("fusions", "smoothers") else [])])


def _first(values: list[str] | None) -> list[str]:
    return ["./"] if values is None else values[:1]


def _paths(incomplete: str) -> list[str]:
    """Complete a path: folders end in a slash."""
    folder, slash, name = incomplete.rpartition("/")
    try:
        entries = sorted(expanded(f"{folder}{slash}" or ".").iterdir())
    except (OSError, ValueError):
        return []
    return [
        f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}"
        for entry in entries
        if entry.name.startswith(name) and (name or not entry.name.startswith("."))
    ]


def component(incomplete: str) -> list[str]:
    """Complete with component names of every kind."""
    return _starting(incomplete, api.component_names())


def kinds(incomplete: str) -> list[str]:
    """Complete with kinds in the plural, as ``list`` takes them."""
    return _starting(incomplete, api.component_kinds())


def kind(incomplete: str) -> list[str]:
    """Complete with kinds in the singular, as ``new`` takes them."""
    return _starting(incomplete, (*api.component_kinds().values(), "clip-fusion"))


def views(incomplete: str) -> list[str]:
    """Complete each item of a comma-separated list with views; after ``+`` or ``:`` with regions."""
    start, comma, last = incomplete.rpartition(",")
    split = max(last.rfind("+"), last.rfind(":")) + 1
    known = REGIONS if split else ("face", *REGIONS, "keep:", "drop:")
    return [f"{start}{comma}{last[:split]}{name}" for name in _starting(last[split:], known)]


def configs(command: str) -> Completer:
    """Complete with shipped configs of a command; empty for all. The shell itself completes files."""
    return lambda incomplete: _starting(incomplete, api.shipped_configs(command))


def devices(incomplete: str) -> list[str]:
    """Complete with devices, without loading torch."""
    return _starting(incomplete, DEVICES)


def rows(context: typer.Context, incomplete: str) -> list[str]:
    """Complete with row names of the run folder that stands earlier on the line."""
    # Typer assigns arguments only when every option has its value: until then they are in `args`.
    given = [Path(word) for word in (context.params.get("folder"), *context.args) if word]
    folder = next((folder for folder in given if (folder / "results.csv").is_file()), None)
    return _starting(incomplete, api.row_names(folder)) if folder else []


def _starting(incomplete: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if name.startswith(incomplete)]


# -- bash --------------------------------------------------------------------------------------------------------------


@contextmanager
def whole_words_of_bash() -> Iterator[None]:
    """Join what bash splits: ``:`` and ``=`` are words to it, and a completion replaces what follows the last one."""
    if os.environ.get("_FUSIONKIT_COMPLETE") != "complete_bash":
        yield
        return
    number = int(os.environ["COMP_CWORD"]) + 1
    split = os.environ["COMP_WORDS"].split("\n")[:number]
    joined: list[str] = []
    for before, word in zip(["", *split], split, strict=False):
        if joined and (_is_break(word) or _is_break(before)):
            joined[-1] += word
        else:
            joined.append(word)
    if len(split) < number or len(joined) == len(split):  # typed without these characters, or in quotes
        yield
        return
    os.environ.update(COMP_WORDS="\n".join(joined), COMP_CWORD=str(len(joined) - 1))
    kept = joined[-1][: max(joined[-1].rfind(sign) for sign in ":=") + 1]
    if kept.startswith("--"):
        kept = kept.partition("=")[2]
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        found = [line.removeprefix(kept) for line in printed.getvalue().splitlines()]
        # A single folder is left to bash, which then adds no space.
        sys.stdout.write("" if len(found) == 1 and found[0].endswith("/") else "\n".join(found))


def _is_break(word: str) -> bool:
    return bool(word) and not word.strip(":=")
