"""Shell completion: components, views, configs and rows of a run, without heavy imports.

In a comma-separated list the last item is completed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from fusionkit import api

REGIONS = ("brow", "eye", "mouth", "nose")  # of the default extractor
DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")

Completer = Callable[[str], list[str]]


def components(kind: str) -> Completer:
    """Complete each item of a comma-separated list with names of a kind (plural)."""

    def complete(incomplete: str) -> list[str]:
        start, comma, last = incomplete.rpartition(",")
        return [f"{start}{comma}{name}" for name in _starting(last, api.component_names(kind))]

    return complete


def component(incomplete: str) -> list[str]:
    """Complete with component names of every kind."""
    return _starting(incomplete, api.component_names())


def kinds(incomplete: str) -> list[str]:
    """Complete with kinds in the plural, as ``list`` takes them."""
    return _starting(incomplete, api.component_kinds())


def kind(incomplete: str) -> list[str]:
    """Complete with kinds in the singular, as ``new`` takes them."""
    return _starting(incomplete, api.component_kinds().values())


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
