"""``fusionkit robust``: score trained rows while views are missing, without training."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import out, print_line, print_summary, reporting


def robust(
    folder: options.Folder,
    cell: options.Cells = None,
    pattern: Annotated[
        Literal["frame", "run", "unit"],
        typer.Option(
            help="Frames that lose a view: single frames, one run of frames per clip, or all frames of some units "
            "(subjects or videos)."
        ),
    ] = "frame",
    draws: options.Draws = 5,
    seed: options.DrawSeed = 0,
    smoother: options.Smoothing = "cell",
    plugin: options.Plugins = None,
    device: options.Device = "auto",
    debug: options.Debug = False,
) -> None:
    """Score trained rows while auxiliary views are missing at test time.

    Every subset of the views is tested with all others missing. Then each auxiliary view, and all of them together, are
    missing in 0, 25, 50, 75 and 100 % of the test frames. Relative robustness is the area under this curve divided by
    the area of the constant intact score. The gain is the area between the curve and that of the logit-mean row in the
    same folder. Results are written to robustness.csv in DIR.

    Examples:

      fusionkit robust runs/regions --cell face,eye/mlp/none

      fusionkit robust runs/regions --pattern run
    """
    with reporting(debug):
        from fusionkit.cli.progress import stage_progress

        found = api.robust(
            folder,
            cell or (),
            pattern=pattern,
            smoothed=smoother == "cell",
            draws=draws,
            seed=seed,
            device=device,
            plugins=plugin or (),
            progress=stage_progress(),
        )
        for each in found:
            print_summary(api.summarize(each))
        out.print()
        print_line(f"written to {folder / 'robustness.csv'}")
