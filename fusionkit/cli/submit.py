"""``fusionkit submit``: the predictions of a challenge's test set, or a check of a file with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import FAILED, err, is_interactive, out, reporting
from fusionkit.cli.options import ROW, Debug, Device, Plugins
from fusionkit.errors import ConfigError

if TYPE_CHECKING:
    from fusionkit.predict.predictor import Predictor
    from fusionkit.predict.submission import SubmissionResult

_SHOWN = 20  # faults of a file that are printed


def submit(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="The folder of a run.")] = None,
    cell: Annotated[
        str | None,
        typer.Option(metavar="CELL", help=f"{ROW}.", autocompletion=completion.rows),
    ] = None,
    template: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The challenge's example file: which rows it wants.")
    ] = None,
    out_path: Annotated[
        Path,
        typer.Option(
            "--out", metavar="PATH", help="The file to write; with --format per-video a folder, new or empty."
        ),
    ] = Path("predictions.txt"),
    dataset: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Has the frames. Default: the cell's own data set with test=true."),
    ] = None,
    impute: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="Frames without a crop: nearest, linear or prior. Default: as in the run."),
    ] = None,
    layout: Annotated[
        Literal["single", "per-video"],
        typer.Option("--format", help="One file with all rows, or a file a video as before the sixth edition."),
    ] = "single",
    check: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only check this file against the template.")
    ] = None,
    plugin: Plugins = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Write the predictions of a trained cell for a challenge, or check a file of predictions.

    Without a seed in --cell, probabilities are averaged over all seeds of the row. With --check, the exit code is 1
    where the file has faults.

    Examples:

      fusionkit submit runs/affwild2 --cell face,eye/concat/window --template example.txt --out predictions.txt

      fusionkit submit --check predictions.txt --template example.txt
    """
    with reporting(debug):
        if check is not None:
            _check(check, template)
            return
        if folder is None or cell is None:
            raise ConfigError("DIR and --cell say what predicts", hint="or --check FILE checks a file of predictions")
        from fusionkit.api import open_predictor
        from fusionkit.api import submit as write
        from fusionkit.cli.progress import BarProgress, LineProgress

        predictor = open_predictor(folder, cell, device=device, impute=impute, plugins=plugin or ())
        for note in predictor.notes:
            err.print(f"[yellow]warning:[/] {escape(note)}", soft_wrap=True)
        answer = write(
            predictor,
            out_path,
            template=template,
            dataset=dataset,
            per_video=layout == "per-video",
            progress=BarProgress(err) if is_interactive() else LineProgress(err),
        )
        _print(answer, predictor, out_path)


def _print(answer: SubmissionResult, predictor: Predictor, path: Path) -> None:
    line = f"{answer.frames:,} frames of {len(answer.predicted):,} clips to {path}: {predictor}"
    out.print(line, markup=False, highlight=False, soft_wrap=True)
    if answer.imputed:
        out.print(f"{answer.imputed:,} frames without a view, imputed: {predictor.impute}", highlight=False)
    if answer.unseen:
        most = predictor.classes[int(predictor.prior.argmax())]
        err.print(
            f"[yellow]warning:[/] {answer.unseen:,} frames are in clips without any view and are given {escape(most)}, "
            "the class that training has most of",
            soft_wrap=True,
            highlight=False,
        )


def _check(path: Path, template: Path | None) -> None:
    from fusionkit.predict.submission import read_template, submission_faults

    if template is None:
        raise ConfigError("--check needs a --template to check against")
    asked = read_template(template)
    count = 0
    for count, fault in enumerate(submission_faults(path, asked), 1):
        if count <= _SHOWN:
            err.print(f"[bold red]fault:[/] {escape(fault)}", soft_wrap=True, highlight=False)
    if count:
        more = f", {count - _SHOWN:,} of them not shown" if count > _SHOWN else ""
        err.print(f"{count:,} fault(s){more}", highlight=False)
        raise typer.Exit(FAILED)
    out.print(f"{len(asked):,} rows, no fault", highlight=False)
