"""Options that commands share. The help of each states its effect; metavar and signature give type and default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fusionkit.cli import completion

AXES, HEADS, EXECUTION = "Compared configurations", "Training and scoring of heads", "Execution"

_ROW = "Row or cell: short id, name views/fusion/smoother (with /seed for one seed), or unambiguous part of a name."
_DATASET = "Data set with its options, as folder:root=faces."
_EXTRACTOR = "Region extractor with its options, as template:layout=arcface."
_REPEAT = "Repeatable."
_CONFIG = "Default: as in the config."
_SWEEP = "A list, as [64,128], gives a row per value; with select=dev, one row with the best on the dev set."
_VIEWS = "face, a region, eye+mouth (stacked), keep:eye+mouth (all else black) or drop:mouth (mouth black)"

# -- options that take a default of their own in each command ----------------------------------------------------------


def out_option(metavar: str, text: str) -> Any:
    """Return ``--out``, a file or folder."""
    return typer.Option("--out", metavar=metavar, help=text)


def dataset_option(text: str) -> Any:
    """Return ``--dataset``, one data set."""
    return typer.Option(metavar="SPEC", help=text, autocompletion=completion.components("datasets"))


def view_option(text: str) -> Any:
    """Return an option that takes views."""
    return typer.Option(metavar="VIEWS", help=text, autocompletion=completion.views)


def config_argument(command: str, text: str) -> Any:
    """Return the config of a command: a file, or the name of a shipped config."""
    return typer.Argument(metavar="CONFIG", help=text, autocompletion=completion.configs(command))


# -- every command -----------------------------------------------------------------------------------------------------

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE", help=f"Python file that registers components. {_REPEAT} Default: none."),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Device: auto (the first GPU, else the CPU), cpu, cuda (all GPUs), cuda:N or mps (Apple).",
        autocompletion=completion.devices,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help=f"Set a config key; dots lead into mappings, as in recipe.epochs=10. {_REPEAT} Default: none.",
    ),
]

# -- run folders -------------------------------------------------------------------------------------------------------

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Run folder.")]
RunOrExport = Annotated[
    Path, typer.Argument(metavar="DIR", help="Run folder, or folder of an exported cell.", show_default=False)
]
Row = Annotated[str, typer.Argument(metavar="A", help=_ROW, autocompletion=completion.rows)]
Baseline = Annotated[
    str, typer.Argument(metavar="B", help="Row or cell that A is compared with.", autocompletion=completion.rows)
]
Test = Annotated[
    Literal["crossed", "bootstrap", "permutation"],
    typer.Option(
        help="Intervals and p over units (subjects or videos) and seeds (crossed), the same by percentile bootstrap "
        "(bootstrap, too narrow with few units), or of these trained models by swapping units (permutation)."
    ),
]
Cell = Annotated[str, typer.Option(metavar="ROW", help=_ROW, autocompletion=completion.rows)]
OptionalCell = Annotated[
    str | None,
    typer.Option("--cell", metavar="ROW", help=f"{_ROW} Default: none, with --check.", autocompletion=completion.rows),
]
CellUnlessExported = Annotated[
    str | None,
    typer.Option(
        "--cell", metavar="ROW", help=f"{_ROW} Default: none, of an exported cell.", autocompletion=completion.rows
    ),
]
Cells = Annotated[
    list[str] | None,
    typer.Option(
        "--cell",
        metavar="ROW",
        help=f"{_ROW} {_REPEAT} Default: every finished row with an auxiliary view.",
        autocompletion=completion.rows,
    ),
]
Draws = Annotated[int, typer.Option(metavar="N", min=1, help="Number of random draws to average.")]
DrawSeed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Random seed of the draws.")]
Smoothing = Annotated[
    Literal["cell", "none"],
    typer.Option("--smoother", help="Smoother: that of the row (cell), or none."),
]
Impute = Annotated[
    str | None,
    typer.Option(
        metavar="METHOD",
        help="Imputation of frames without any view: nearest, linear or prior. Default: as in the run.",
    ),
]

# -- data --------------------------------------------------------------------------------------------------------------

Dataset = Annotated[
    str,
    typer.Argument(metavar="SPEC", help=_DATASET, autocompletion=completion.components("datasets")),
]
Extractor = Annotated[
    str,
    typer.Option(metavar="SPEC", help=_EXTRACTOR, autocompletion=completion.components("extractors")),
]
Inputs = Annotated[
    list[Path],
    typer.Argument(metavar="INPUT...", help="Photos, videos, and folders of them.", show_default=False),
]
_DETECTOR = "Extractor that detects faces, as yunet:model=FILE."
Detector = Annotated[
    str, typer.Option(metavar="SPEC", help=_DETECTOR, autocompletion=completion.components("extractors"))
]
OptionalDetector = Annotated[
    str | None,
    typer.Option(
        "--detector",
        metavar="SPEC",
        help=f"{_DETECTOR} Default: none, the inputs are aligned faces.",
        autocompletion=completion.components("extractors"),
    ),
]
People = Annotated[
    Literal["all", "largest", "central", "left", "right"],
    typer.Option(metavar="FACES", help="Faces of a frame to use: all, largest, central, left or right."),
]
Side = Annotated[
    int, typer.Option(metavar="PX", min=16, max=1024, help="Side of an aligned face in pixels, as in training.")
]
Rotate = Annotated[
    Literal["auto", "0", "90", "180", "270"],
    typer.Option(
        metavar="DEGREES",
        help="Turn frames clockwise by 0, 90, 180 or 270 degrees. auto: for each input, as its faces are upright.",
    ),
]

# -- axes of a grid ----------------------------------------------------------------------------------------------------

Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        metavar="SPEC",
        help=f"{_DATASET} {_REPEAT} {_CONFIG}",
        autocompletion=completion.components("datasets"),
        rich_help_panel=AXES,
    ),
]
Task = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SPEC",
        help="What is predicted: expression, votes, action-units or valence-arousal. Tasks with a comma are learned "
        f"together. Repeat to compare. {_CONFIG}",
        autocompletion=completion.components("tasks"),
        rich_help_panel=AXES,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT",
        help="What has one label, one prediction and one score: frame or clip. A head of clips learns from mean and "
        f"standard deviation of a clip's embeddings. {_CONFIG}",
        rich_help_panel=AXES,
    ),
]
Split = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SPEC",
        help="Train and test split: auto (official where there is one), official, holdout:test=0.2 or kfold:k=5. "
        f"{_CONFIG}",
        rich_help_panel=AXES,
    ),
]
Extractors = Annotated[
    list[str] | None,
    typer.Option(
        "--extractor",
        metavar="SPEC",
        help=f"{_EXTRACTOR} {_REPEAT} {_CONFIG}",
        autocompletion=completion.components("extractors"),
        rich_help_panel=AXES,
    ),
]
Backbones = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        metavar="SPEC",
        help=f"Backbone that embeds views, as hog or timm:model=resnet18. {_REPEAT} {_CONFIG}",
        autocompletion=completion.components("backbones"),
        rich_help_panel=AXES,
    ),
]
MainView = Annotated[
    list[str] | None,
    typer.Option("--main", metavar="VIEW", help=f"Main view, or none. {_CONFIG}", rich_help_panel=AXES),
]
Regions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VIEWS",
        help=f"One region set: auxiliary views separated by commas. A view is {_VIEWS}. Repeat to compare sets. "
        f"{_CONFIG}",
        autocompletion=completion.views,
        rich_help_panel=AXES,
    ),
]
Subsets = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VIEWS",
        help="Compare every non-empty subset of these views. Default: none.",
        autocompletion=completion.views,
        rich_help_panel=AXES,
    ),
]
Fusions = Annotated[
    list[str] | None,
    typer.Option(
        "--fusion",
        metavar="SPEC",
        help=f"Fusions of views, as concat,mlp:hidden=128. {_SWEEP} {_REPEAT} {_CONFIG}",
        autocompletion=completion.components("fusions"),
        rich_help_panel=AXES,
    ),
]
Smoothers = Annotated[
    list[str] | None,
    typer.Option(
        "--smoother",
        metavar="SPEC",
        help=f"Temporal smoothers, as none,window:width=25. {_SWEEP} {_REPEAT} {_CONFIG}",
        autocompletion=completion.components("smoothers"),
        rich_help_panel=AXES,
    ),
]

# -- heads of a grid ---------------------------------------------------------------------------------------------------

Recipe = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Option of the training recipe (optimiser, epochs, loss): see fusionkit info recipe. A list in square "
        f"brackets is a sweep: the value is selected on the dev set. {_REPEAT} {_CONFIG}",
        rich_help_panel=HEADS,
    ),
]
Seeds = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help=f"Number of random seeds per configuration. {_CONFIG}", rich_help_panel=HEADS
    ),
]
Reference = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VIEWS",
        help="Baseline row for delta: main (the main view with a linear head), a region set with the first fusion, "
        f"or none. {_CONFIG}",
        rich_help_panel=HEADS,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Approximate number of frames per split, for a quick trial. Default: all frames.",
        rich_help_panel=HEADS,
    ),
]

# -- execution of a grid -----------------------------------------------------------------------------------------------

Executor = Annotated[
    Literal["processes", "serial", "ray"],
    typer.Option(help="Executor: process pool, serial, or Ray.", rich_help_panel=EXECUTION),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Address of a running Ray cluster: auto or host:port. Default: start Ray on this machine.",
        rich_help_panel=EXECUTION,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        max=1024,
        help="Maximum number of worker processes; 0: one per core.",
        rich_help_panel=EXECUTION,
    ),
]
CellTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0.1,
        help="Time limit of one task (an embedding or a head). Default: none.",
        rich_help_panel=EXECUTION,
    ),
]
WorkerMemory = Annotated[
    float | None,
    typer.Option(
        metavar="GIB",
        min=0,
        help="Memory limit of a worker in GiB; 0: no limit. Default: a share of the memory, no limit on a GPU.",
        rich_help_panel=EXECUTION,
    ),
]
FeatureMemory = Annotated[
    float,
    typer.Option(
        "--memory",
        metavar="GIB",
        min=0,
        help="Memory for the features of a worker in GiB; larger features are read from disk, with the same results. "
        "0: a share of the available memory.",
        rich_help_panel=EXECUTION,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the planned work and stop.", rich_help_panel=EXECUTION)]
FailFast = Annotated[
    bool, typer.Option("--fail-fast", help="Stop at the first failed cell.", rich_help_panel=EXECUTION)
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Retry the cells that failed in an earlier run.", rich_help_panel=EXECUTION),
]
