"""``fusionkit preview``: show frames, region boxes and views."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import print_labelled, print_line, reporting


def preview(
    dataset: Annotated[str, options.dataset_option("Data set with its options, as folder:root=faces.")] = "synthetic",
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--input",
            metavar="PATH",
            help="Photo, video, or folder of them, instead of a data set. Repeatable. Default: none.",
        ),
    ] = None,
    extractor: options.Extractor = "template",
    regions: Annotated[
        str, options.view_option("Views beside the face, separated by commas.")
    ] = "eye,mouth,nose,eye+mouth",
    frames: Annotated[int, typer.Option(metavar="N", min=1, max=200, help="Number of frames per class or video.")] = 8,
    rotate: options.Rotate = "auto",
    out: Annotated[Path, options.out_option("FILE", "PNG file.")] = Path("preview.png"),
    plugin: options.Plugins = None,
    debug: options.Debug = False,
) -> None:
    """Write a contact sheet: frames with region boxes, and below them the views.

    Check boxes and views in this way before a benchmark.

    Examples:

      fusionkit preview --dataset synthetic

      fusionkit preview --dataset folder:root=faces --regions eye,mouth --out faces.png

      fusionkit preview --input clip.mp4 --extractor yunet:model=face_detection_yunet_2023mar.onnx
    """
    with reporting(debug):
        notes = api.preview(
            dataset,
            inputs=inputs or (),
            extractor=extractor,
            regions=regions,
            frames=frames,
            rotate=rotate,
            out=out,
            plugins=plugin or (),
        )
        print_labelled("note", notes)
        print_line(f"wrote {out}")
