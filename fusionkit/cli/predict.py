"""``fusionkit predict``: a trained cell on photos and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import FAILED, err, is_interactive, out, reporting
from fusionkit.cli.options import ROW, Debug, Device, Folder, Plugins

if TYPE_CHECKING:
    from fusionkit.predict.video.result import VideoResult
    from fusionkit.predict.video.run import VideoRun

_SHOWN = 20  # photos that have a line of their own
_KEPT = "the table holds the inputs that were finished"


def predict(
    folder: Folder,
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="Photos, videos, and folders of them.", show_default=False),
    ],
    cell: Annotated[
        str,
        typer.Option(metavar="CELL", help=f"{ROW}.", autocompletion=completion.rows),
    ],
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Extractor that finds faces, as yunet:model=FILE. Default: inputs are aligned faces.",
            autocompletion=completion.components("extractors"),
        ),
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for what is written.")] = Path(
        "predictions"
    ),
    stream: Annotated[
        bool, typer.Option("--stream", help="Answer each frame before the next is read; causal smoothers only.")
    ] = False,
    video: Annotated[bool, typer.Option(help="Write annotated videos and photos.")] = True,
    people: Annotated[
        Literal["all", "largest", "central", "left", "right"], typer.Option(help="Which faces of a frame.")
    ] = "all",
    side: Annotated[
        int,
        typer.Option(metavar="PX", min=16, max=1024, help="Side of an aligned face in px, as the cell was trained on."),
    ] = 112,
    batch: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Faces embedded together. Default: 64; with --stream 1.")
    ] = None,
    impute: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="Frames without a face: nearest, linear or prior. Default: as in the run."),
    ] = None,
    device: Device = "auto",
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Say what a trained cell sees in photos and videos, frame by frame: a table, timelines, annotated pictures.

    Without a seed in --cell, probabilities are averaged over all seeds of the row. Exit code 1 says that some input
    had a fault.

    Examples:

      fusionkit predict runs/mine --cell face,eye/concat/window clip.mp4 --detector yunet:model=yunet.onnx

      fusionkit predict runs/mine --cell face,eye/concat/exponential clip.mp4 --detector yunet:model=yunet.onnx --stream

      fusionkit predict runs/mine --cell mlp/none aligned/cropped_aligned
    """
    with reporting(debug, kept=_KEPT):
        from fusionkit.api import open_predictor
        from fusionkit.cli.progress import BarProgress, LineProgress
        from fusionkit.media.face_tracking import DetectionOptions
        from fusionkit.media.inputs import find_inputs, join_numbered_images
        from fusionkit.predict.video.run import VideoOptions, VideoRun, picture_folders
        from fusionkit.registry import EXTRACTORS
        from fusionkit.registry.spec import Spec

        found, unlisted = find_inputs(inputs, picture_folders(out_dir))
        predictor = open_predictor(folder, cell, device=device, impute=impute, plugins=plugin or ())
        finder = EXTRACTORS.build(Spec.parse(detector)) if detector is not None else None
        look = DetectionOptions(finder, None if people == "all" else people, side)
        run = VideoRun(predictor, VideoOptions(look, stream, batch, video), out_dir)
        for note in run.predictor.notes:
            err.print(f"[yellow]warning:[/] {escape(note)}", soft_wrap=True)
        teller = _Teller(run)
        for line in unlisted:
            teller.fault(line)
        progress = (BarProgress if is_interactive() else LineProgress)(err, brief=True)
        for result in run(join_numbered_images(found), progress):
            teller.tell(result)
        teller.summarise()
        if teller.faults:
            raise typer.Exit(FAILED)


class _Teller:
    """Prints what becomes of each input."""

    def __init__(self, run: VideoRun) -> None:
        self.run, self.faults, self.inputs, self.photos, self.warned = run, 0, 0, 0, False

    def fault(self, line: str) -> None:
        self.faults += 1
        err.print(f"[bold red]fault:[/] {escape(line)}", soft_wrap=True, highlight=False)

    def tell(self, result: VideoResult) -> None:
        from fusionkit.predict.video.summary import alignment_warning, speed_line, summary_line

        self.inputs += 1
        for line in result.faults:
            self.fault(line)
        note = alignment_warning(result) if self.run.assumes_aligned and not self.warned else ""
        if note:
            self.warned = True
            err.print(f"[yellow]warning:[/] {escape(note)}", soft_wrap=True, highlight=False)
        photo = result.source.is_photo
        self.photos += photo
        if result.failed or (photo and self.photos > _SHOWN):
            return
        out.print(summary_line(result, self.run.predictor.classes), markup=False, highlight=False, soft_wrap=True)
        if self.run.options.stream and not photo:
            out.print(f"  {speed_line(result)}", markup=False, highlight=False, soft_wrap=True)

    def summarise(self) -> None:
        if self.photos > _SHOWN:
            out.print(f"and {self.photos - _SHOWN:,} more photo(s)", highlight=False)
        where = f"{self.run.rows:,} rows in {self.run.table}" if self.run.rows else "nothing to write"
        faulty = f"; {self.faults:,} fault(s)" if self.faults else ""
        text = f"{self.inputs:,} input(s), {where}: {self.run.predictor}{faulty}"
        out.print(text, markup=False, highlight=False, soft_wrap=True)
