"""What the shell offers after TAB: components, views, configs, rows of a run, without importing anything heavy.

A text with commas is completed after its last one.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from fusionkit.registry import REGISTRIES

REGIONS = ("brow", "eye", "mouth", "nose")  # those of the extractor that is the default
DEVICES = ("auto", "cpu", "cuda", "cuda:0")

Completer = Callable[[str], list[str]]


def components(kind: str) -> Completer:
    """Names of a kind, ``fusions``, each item of a comma list."""
    return lambda incomplete: _listed(incomplete, REGISTRIES[kind].names())


def component(incomplete: str) -> list[str]:
    """Names of every kind."""
    known = {name for registry in REGISTRIES.values() for name in registry.names()}
    return _beginning(incomplete, sorted(known))


def kinds(incomplete: str) -> list[str]:
    """Kinds in the plural, as ``list`` takes them."""
    return _beginning(incomplete, REGISTRIES)


def kind(incomplete: str) -> list[str]:
    """Kinds in the singular, as ``new`` takes them."""
    return _beginning(incomplete, [registry.kind for registry in REGISTRIES.values()])


def views(incomplete: str) -> list[str]:
    """Views, each item of a comma list; after a ``+`` or a ``:`` regions."""
    start, comma, last = incomplete.rpartition(",")
    at = max(last.rfind("+"), last.rfind(":")) + 1
    known = REGIONS if at else ("face", *REGIONS, "keep:", "drop:")
    return [f"{start}{comma}{last[:at]}{name}" for name in _beginning(last[at:], known)]


def configs(room: str) -> Completer:
    """Shipped configs of a room, ``pretrain``; all of them where it is empty. Files are the shell's own business."""

    def complete(incomplete: str) -> list[str]:
        from fusionkit.config.config_file import shipped_names

        return _beginning(incomplete, [name for name in shipped_names() if name.startswith(room)])

    return complete


def devices(incomplete: str) -> list[str]:
    """Devices, without asking torch which are there."""
    return _beginning(incomplete, DEVICES)


def rows(context: typer.Context, incomplete: str) -> list[str]:
    """Rows, by name, of the run folder that was given before."""
    # Where an option still lacks its value, Typer has not yet told arguments from the rest.
    given = [Path(word) for word in (context.params.get("folder"), *context.args) if word]
    table = next((folder / "results.csv" for folder in given if (folder / "results.csv").is_file()), None)
    if table is None:
        return []
    try:
        with table.open(encoding="utf-8", newline="") as file:
            names = [f"{row['views']}/{row['fusion']}/{row['smoother']}" for row in csv.DictReader(file)]
    except (OSError, KeyError, UnicodeDecodeError):
        return []
    return _beginning(incomplete, dict.fromkeys(names))


def _listed(incomplete: str, known: Iterable[str]) -> list[str]:
    start, comma, last = incomplete.rpartition(",")
    return [f"{start}{comma}{name}" for name in _beginning(last, known)]


def _beginning(incomplete: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if name.startswith(incomplete)]
