"""``fusionkit demo``: a page on this machine that shows what a trained row sees and predicts."""

from __future__ import annotations

import signal
import webbrowser
from typing import Annotated

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import print_line, reporting


def demo(
    folder: options.Folder,
    cell: options.Cell,
    detector: options.OptionalDetector = None,
    side: options.Side = 112,
    port: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=65535, help="TCP port. Default: the first free one from 7860.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    plugin: options.Plugins = None,
    device: options.Device = "auto",
    debug: options.Debug = False,
) -> None:
    """Show what a trained model sees and predicts, on a local page.

    A photo, the webcam or a video is shown with its region boxes, the views, the probabilities, and what happens when
    a region is covered. Only this machine can open the page, and no picture leaves it. Needs the extra demo.

    Examples:

      fusionkit demo runs/mine --cell face,eye/concat/window --detector yunet:model=yunet.onnx

      fusionkit demo runs/mine --cell mlp/none --port 8000 --no-browser
    """
    with reporting(debug, interrupted="The demo has ended."):
        page = api.demo(folder, cell, detector=detector, side=side, port=port, device=device, plugins=plugin or ())
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that uploads are deleted then, too
        try:
            print_line(f"demo: {page.url} (Ctrl-C ends it)")
            if browser:
                webbrowser.open(page.url)
            page.wait()
        finally:
            page.close()
