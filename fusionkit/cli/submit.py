"""``fusionkit submit``: write or check the predictions for a challenge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import FAILED, print_labelled, print_line, print_note, reporting
from fusionkit.errors import ConfigError

if TYPE_CHECKING:
    from fusionkit.api import Predictor, SubmissionResult

_SHOWN = 20  # faults of a file that are printed


def submit(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Run folder. Default: none, with --check.")
    ] = None,
    cell: options.OptionalCell = None,
    template: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Example file of the challenge, with the rows to predict. Default: none."),
    ] = None,
    out: Annotated[Path, options.out_option("PATH", "File; with --format per-video a folder, new or empty.")] = Path(
        "predictions.txt"
    ),
    dataset: Annotated[
        str | None,
        options.dataset_option("Data set with the frames. Default: that of the row, with test=true."),
    ] = None,
    impute: options.Impute = None,
    layout: Annotated[
        Literal["single", "per-video"],
        typer.Option("--format", help="One file with all rows, or one file per video, as before the sixth edition."),
    ] = "single",
    missing_classes: Annotated[
        bool,
        typer.Option("--missing-classes", help="Allow template classes that the row lacks; they are never predicted."),
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Check this file against the template and stop. Default: write predictions."),
    ] = None,
    plugin: options.Plugins = None,
    device: options.Device = "auto",
    debug: options.Debug = False,
) -> None:
    """Write the predictions of a trained row for a challenge, or check a file of predictions.

    Without a seed in --cell, probabilities are averaged over all seeds of the row. With --check, the exit code is 1 if
    the file has faults.

    Examples:

      fusionkit submit runs/affwild2 --cell face,eye/concat/window --template example.txt --out predictions.txt

      fusionkit submit --check predictions.txt --template example.txt
    """
    with reporting(debug):
        if check is not None:
            _check(check, template)
            return
        if folder is None or cell is None:
            raise ConfigError("DIR and --cell are needed to predict", hint="or --check FILE to check a file")
        from fusionkit.cli.progress import stage_progress

        predictor = api.open_predictor(folder, cell, device=device, impute=impute, plugins=plugin or ())
        print_labelled("warning", predictor.notes)
        result = api.submit(
            predictor,
            out,
            template=template,
            dataset=dataset,
            per_video=layout == "per-video",
            missing_classes=missing_classes,
            progress=stage_progress(),
        )
        _print(result, predictor, out)


def _print(result: SubmissionResult, predictor: Predictor, path: Path) -> None:
    print_line(f"{result.frames:,} frames of {len(result.predicted):,} clips to {path}: {predictor}")
    if result.imputed:
        print_line(f"{result.imputed:,} frames without a view, imputed: {predictor.impute}")
    print_labelled("warning", filter(None, [api.submission_warning(predictor, result)]))


def _check(path: Path, template: Path | None) -> None:
    if template is None:
        raise ConfigError("--check needs --template")
    rows, faults = api.check_submission(path, template)
    count = 0
    for count, fault in enumerate(faults, 1):
        if count <= _SHOWN:
            print_labelled("fault", [fault])
    if count:
        more = f", {count - _SHOWN:,} of them not shown" if count > _SHOWN else ""
        print_note(f"{count:,} fault(s){more}")
        raise typer.Exit(FAILED)
    print_line(f"{rows:,} rows, no fault")
