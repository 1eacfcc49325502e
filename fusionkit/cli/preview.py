"""``fusionkit preview``: look at the frames, their boxes, and the views that are cut from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fusionkit.cli.console import err, out, reporting


def preview(
    dataset: Annotated[str, typer.Option(help="Data set, as name:key=value,...")] = "synthetic",
    inputs: Annotated[
        list[Path] | None, typer.Option("--input", help="Photo, video or folder of them, instead of a data set.")
    ] = None,
    extractor: Annotated[str, typer.Option(help="Says where regions are.")] = "template",
    regions: Annotated[str, typer.Option(help="Views to show beside the face.")] = "eye,mouth,nose,eye+mouth",
    frames: Annotated[int, typer.Option(min=1, max=200, help="Frames a class or video.")] = 8,
    out_file: Annotated[Path, typer.Option("--out", help="The PNG to write.")] = Path("preview.png"),
    plugin: Annotated[list[str] | None, typer.Option(help="A Python file that registers components.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Write a contact sheet: frames of each class or input with region boxes, and below them each view as it is cut.

    Examples:

      fusionkit preview --dataset synthetic

      fusionkit preview --dataset folder:root=faces --regions eye,mouth --out faces.png

      fusionkit preview --input clip.mp4 --extractor yunet:model=face_detection_yunet_2023mar.onnx
    """
    with reporting(debug):
        from fusionkit.plugin_file import load_plugin_file
        from fusionkit.report.contact_sheet import write_contact_sheet
        from fusionkit.report.media_sheet import write_media_sheet
        from fusionkit.spec import Spec
        from fusionkit.views import parse_region_set

        for path in plugin or ():
            load_plugin_file(path)
        views = parse_region_set(regions)
        if inputs:
            for line in write_media_sheet(inputs, Spec.parse(extractor), views, frames, out_file):
                err.print(f"[yellow]note:[/] {escape(line)}", soft_wrap=True, highlight=False)
        else:
            write_contact_sheet(Spec.parse(dataset), Spec.parse(extractor), views, frames, out_file)
        out.print(f"wrote {out_file}", highlight=False)
