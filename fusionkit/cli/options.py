"""Options that several commands have, so that they are called and described alike everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli import completion

ROW = "A row or cell: its short id, or its name, views/fusion/smoother; .../seed for one seed"
PLUGIN = "A Python file that registers components. Repeatable."
SPEC = "A data set, as name:key=value,..."

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")]
Dataset = Annotated[str, typer.Argument(metavar="SPEC", help=SPEC, autocompletion=completion.components("datasets"))]
Extractor = Annotated[
    str,
    typer.Option(metavar="SPEC", help="Says where regions are.", autocompletion=completion.components("extractors")),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any config key, dotted: recipe.epochs=10. Repeatable."),
]
Plugins = Annotated[list[str] | None, typer.Option("--plugin", metavar="FILE", help=PLUGIN)]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or cuda:N.", autocompletion=completion.devices)
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
