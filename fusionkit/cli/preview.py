"""``fusionkit preview``: look at the frames, their boxes, and the views that are cut from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import err, out, reporting
from fusionkit.cli.options import SPEC, Debug, Extractor, Plugins


def preview(
    dataset: Annotated[
        str, typer.Option(metavar="SPEC", help=SPEC, autocompletion=completion.components("datasets"))
    ] = "synthetic",
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", metavar="PATH", help="Photo, video or folder of them, instead of a data set."),
    ] = None,
    extractor: Extractor = "template",
    regions: Annotated[
        str, typer.Option(metavar="VIEWS", help="Views to show beside the face.", autocompletion=completion.views)
    ] = "eye,mouth,nose,eye+mouth",
    frames: Annotated[int, typer.Option(metavar="N", min=1, max=200, help="Frames a class or video.")] = 8,
    out_file: Annotated[Path, typer.Option("--out", metavar="FILE", help="The PNG to write.")] = Path("preview.png"),
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Write a contact sheet: frames of each class or input with region boxes, and below them each view as it is cut.

    Examples:

      fusionkit preview --dataset synthetic

      fusionkit preview --dataset folder:root=faces --regions eye,mouth --out faces.png

      fusionkit preview --input clip.mp4 --extractor yunet:model=face_detection_yunet_2023mar.onnx
    """
    with reporting(debug):
        from fusionkit.config.views import parse_region_set
        from fusionkit.data.contact_sheet import write_contact_sheet
        from fusionkit.data.media_sheet import write_media_sheet
        from fusionkit.registry.plugin_file import load_plugin_file
        from fusionkit.registry.spec import Spec

        for path in plugin or ():
            load_plugin_file(path)
        views = parse_region_set(regions)
        if inputs:
            for line in write_media_sheet(inputs, Spec.parse(extractor), views, frames, out_file):
                err.print(f"[yellow]note:[/] {escape(line)}", soft_wrap=True, highlight=False)
        else:
            write_contact_sheet(Spec.parse(dataset), Spec.parse(extractor), views, frames, out_file)
        out.print(f"wrote {out_file}", highlight=False)
