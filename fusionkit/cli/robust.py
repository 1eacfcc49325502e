"""``fusionkit robust``: what trained rows score while views are missing, without training anything anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from fusionkit.cli.ablate import Cells, Draws, Seed, Smoothing, print_rest, terminal_progress
from fusionkit.cli.console import out, reporting
from fusionkit.cli.options import Debug, Device, Folder, Plugins

if TYPE_CHECKING:
    from fusionkit.report.robustness import Robustness


def robust(
    folder: Folder,
    cell: Cells = None,
    pattern: Annotated[
        Literal["frame", "run", "unit"],
        typer.Option(help="Missing are: single frames, a run of frames in every clip, or all frames of some units."),
    ] = "frame",
    draws: Draws = 5,
    seed: Seed = 0,
    smoother: Smoothing = "cell",
    plugin: Plugins = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Say what trained rows score while auxiliary views are missing at test time.

    Every subset of the views is tested with all others missing; then each auxiliary view is missing in 0, 25, 50, 75
    and 100 % of the test frames, and all of them together. Relative robustness is the area under that curve by that of
    the intact score held; the gain is the area between the curve and that of the logit-mean row of the same folder.
    All is written to robustness.csv in DIR.

    Examples:

      fusionkit robust runs/regions --cell face,eye/mlp/none

      fusionkit robust runs/regions --pattern run
    """
    with reporting(debug):
        from fusionkit.api import robust as call
        from fusionkit.predict.ablation import AblationOptions

        found = call(
            folder,
            cell or (),
            pattern=pattern,
            options=AblationOptions(smoothed=smoother == "cell", draws=draws, seed=seed),
            device=device,
            plugins=plugin or (),
            progress=terminal_progress(),
        )
        for each in found:
            _print(each)
        out.print(f"\nwritten to {folder / 'robustness.csv'}", markup=False, highlight=False, soft_wrap=True)


def _print(found: Robustness) -> None:
    from fusionkit.report.robustness import curve_caption, curve_table, subset_table

    out.print()
    out.print(subset_table(found))
    out.print()
    out.print(curve_table(found))
    out.print(escape(curve_caption(found)), style="dim", highlight=False)
    print_rest(found.tested)
