"""``fusionkit export``: write a trained row as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import print_labelled, print_line, reporting


def export(
    folder: options.Folder,
    cell: options.Cell,
    out: Annotated[Path, options.out_option("FOLDER", "New or empty folder for the model.")] = Path("exported"),
    plugin: options.Plugins = None,
    debug: options.Debug = False,
) -> None:
    """Export a trained model as ONNX, with a manifest and a model card.

    The model takes the views of a frame and gives logits; backbones, fusion and heads are inside. The smoother is
    stored beside it. Of a row of clips, one model embeds frames and another predicts clips. The models are run, and
    their probabilities are compared with those of the row. fusionkit predict runs the folder without torch.

    Examples:

      fusionkit export runs/mine --cell face,eye/concat/exponential --out exported

      fusionkit predict exported clip.mp4 --detector yunet:model=yunet.onnx
    """
    with reporting(debug):
        found = api.export(folder, cell, out, plugins=plugin or ())
        print_labelled("warning", found.notes)
        for view, backbone in found.code.items():
            print_labelled("warning", [f"view {view}: {backbone} stays code; the model takes its embedding"])
        check = found.check
        print_line(f"{found.name} to {found.folder}: {found.size / 2**20:.1f} MiB of ONNX")
        print_line(
            f"checked on {check['rows']:,} inputs: probabilities differ by at most "
            f"{check['probabilities_differ_by']:.1e}, {check['same_label']:,} of {check['rows']:,} labels are the same"
        )
