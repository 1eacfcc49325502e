"""``fusionkit predict``: run a trained row on photos and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import FAILED, print_labelled, print_line, reporting

if TYPE_CHECKING:
    from fusionkit.api import VideoResult, VideoRun

_SHOWN = 20  # photos that are printed
_INTERRUPTED = "The table holds the finished inputs."


def predict(
    folder: options.RunOrExport,
    inputs: options.Inputs,
    cell: options.CellUnlessExported = None,
    detector: options.OptionalDetector = None,
    out: Annotated[Path, options.out_option("DIR", "Folder for the table, timelines, and annotated pictures.")] = Path(
        "predictions"
    ),
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Predict each frame before the next; fusion and smoother must be causal."),
    ] = False,
    video: Annotated[bool, typer.Option("--video/--no-video", help="Write annotated videos and photos.")] = True,
    people: options.People = "all",
    side: options.Side = 112,
    rotate: options.Rotate = "auto",
    batch: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Number of faces embedded together. Default: 64; 1 with --stream."),
    ] = None,
    impute: options.Impute = None,
    plugin: options.Plugins = None,
    device: options.Device = "auto",
    debug: options.Debug = False,
) -> None:
    """Run a trained model on photos and videos.

    The output is a table of probabilities per frame, timelines, and annotated pictures. Without a seed in --cell,
    probabilities are averaged over all seeds of the row. The exit code is 1 if an input had a fault.

    Examples:

      fusionkit predict runs/mine --cell face,eye/concat/window clip.mp4 --detector yunet:model=yunet.onnx

      fusionkit predict runs/mine --cell face,eye/concat/exponential clip.mp4 --detector yunet:model=yunet.onnx --stream

      fusionkit predict runs/mine --cell mlp/none aligned/cropped_aligned

      fusionkit predict exported clip.mp4 --detector yunet:model=yunet.onnx
    """
    with reporting(debug, interrupted=_INTERRUPTED):
        from fusionkit.cli.progress import stage_progress

        found = api.predict(
            folder,
            cell,
            inputs,
            detector=detector,
            out=out,
            stream=stream,
            draw=video,
            people=people,
            side=side,
            rotate=rotate,
            batch=batch,
            impute=impute,
            device=device,
            plugins=plugin or (),
            progress=stage_progress(brief=True),
        )
        print_labelled("warning", found.run.predictor.notes)
        printer = _Printer(found.run)
        printer.print_faults(found.unlisted)
        for result in found.results:
            printer.print_result(result)
        printer.print_totals()
        if printer.faults:
            raise typer.Exit(FAILED)


class _Printer:
    """Prints the result of each input, and totals."""

    def __init__(self, run: VideoRun) -> None:
        self.run, self.faults, self.inputs, self.photos, self.warned = run, 0, 0, 0, False

    def print_faults(self, faults: list[str]) -> None:
        self.faults += len(faults)
        print_labelled("fault", faults)

    def print_result(self, result: VideoResult) -> None:
        self.inputs += 1
        self.print_faults(result.faults)
        if not self.warned and (warning := api.alignment_warning(self.run, result)):
            self.warned = True
            print_labelled("warning", [warning])
        photo = result.source.is_photo
        self.photos += photo
        if result.failed or (photo and self.photos > _SHOWN):
            return
        for line in api.prediction_lines(self.run, result):
            print_line(line)

    def print_totals(self) -> None:
        if self.photos > _SHOWN:
            print_line(f"and {self.photos - _SHOWN:,} more photo(s)")
        written = f"{self.run.rows:,} rows in {self.run.table}" if self.run.rows else "nothing to write"
        faults = f"; {self.faults:,} fault(s)" if self.faults else ""
        print_line(f"{self.inputs:,} input(s), {written}: {self.run.predictor}{faults}")
