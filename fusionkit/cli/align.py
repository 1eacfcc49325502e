"""``fusionkit align``: align the faces of photos and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import FAILED, RESUMABLE, print_labelled, print_line, reporting

if TYPE_CHECKING:
    from fusionkit.api import AlignOutcome


def align(
    inputs: options.Inputs,
    detector: options.Detector,
    out: Annotated[Path, options.out_option("DIR", "Folder for the crops.")] = Path("aligned"),
    people: options.People = "all",
    side: options.Side = 112,
    rotate: options.Rotate = "auto",
    min_frames: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Minimum number of frames of a face in a video; shorter tracks are dropped."
        ),
    ] = 5,
    patience: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Frames without detection after which a face is counted as a new one."),
    ] = 30,
    plugin: options.Plugins = None,
    debug: options.Debug = False,
) -> None:
    """Find the faces of photos and videos, and write them aligned in the layout of Aff-Wild2.

    An interrupted command resumes when it is repeated, also in the middle of a video. The exit code is 1 if an input
    had a fault. Sub-folders of the inputs are kept, so class folders stay class folders.

    Examples:

      fusionkit align clip.mp4 --detector yunet:model=face_detection_yunet_2023mar.onnx --out aligned

      fusionkit align photos videos --detector insightface:pack=buffalo_l --people largest
    """
    with reporting(debug, interrupted=RESUMABLE):
        from fusionkit.cli.progress import frame_progress

        with frame_progress(_print_outcome) as progress:
            outcomes, unlisted = api.align(
                inputs,
                detector=detector,
                out=out,
                people=people,
                side=side,
                rotate=rotate,
                min_frames=min_frames,
                patience=patience,
                plugins=plugin or (),
                progress=progress,
            )
        print_labelled("fault", unlisted)
        _print_totals(outcomes, out)
        if unlisted or any(outcome.faults for outcome in outcomes):
            raise typer.Exit(FAILED)


def _print_outcome(outcome: AlignOutcome) -> None:
    """Print one line per fault, and one for the input if it was read."""
    print_labelled("fault", outcome.faults)
    if result := outcome.result:
        clips = ", ".join(f"{clip.clip} {clip.frames / result.frames:.1%}" for clip in result.clips) or "no face"
        note = f" (turned by {result.turn} degrees)" if result.turn else ""
        note += " (done before)" if outcome.reused else ""
        print_line(f"{outcome.path}: {result.frames:,} frame(s): {clips}{note}")


def _print_totals(outcomes: list[AlignOutcome], folder: Path) -> None:
    read = [outcome.result for outcome in outcomes if outcome.result]
    frames = sum(result.frames for result in read)
    crops = sum(clip.frames for result in read for clip in result.clips)
    faulty = sum(bool(outcome.faults) for outcome in outcomes)
    print_line(
        f"{len(outcomes):,} input(s), {frames:,} frames, {crops:,} crops in {folder}; {faulty} input(s) with a fault; "
        "details in coverage.csv and coverage.png"
    )
