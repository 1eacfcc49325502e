"""``fusionkit ablate``: whether the views of trained rows matter, without training anything anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from fusionkit.cli import completion
from fusionkit.cli.console import err, is_interactive, out, reporting
from fusionkit.cli.options import ROW, Debug, Device, Folder, Plugins

if TYPE_CHECKING:
    from fusionkit.grid.progress import Progress
    from fusionkit.report.ablation import Ablation, Retested

Cells = Annotated[
    list[str] | None,
    typer.Option(
        "--cell",
        metavar="CELL",
        help=f"{ROW}. Repeatable. Default: every finished row with an auxiliary view.",
        autocompletion=completion.rows,
    ),
]
Draws = Annotated[int, typer.Option(metavar="N", min=1, help="How often what is random is drawn, and averaged.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Of what is random.")]
Smoothing = Annotated[
    Literal["cell", "none"], typer.Option("--smoother", help="Smooth as the cell does, or not at all.")
]


def ablate(
    folder: Folder,
    cell: Cells = None,
    draws: Draws = 10,
    seed: Seed = 0,
    smoother: Smoothing = "cell",
    plugin: Plugins = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Say what trained rows lose when one of their views is shuffled, blank or missing at test time.

    The heads stay as they are. shuffle: the view's embeddings change places among the test frames. zero: it holds its
    training mean. drop: it is said to be missing. masked Shapley: its share in what all views give over none, from
    every subset of them; with retrained heads that is another question (--subsets of fusionkit bench). Where the folder
    holds the main view twice (--regions face), the gain over the main view alone is divided into what more parameters
    give and what the region gives. All is written to attribution.csv in DIR.

    Examples:

      fusionkit ablate runs/regions --cell face,eye/mlp/none

      fusionkit ablate runs/regions --smoother none
    """
    with reporting(debug):
        from fusionkit.api import ablate as call
        from fusionkit.predict.ablation import AblationOptions

        options = AblationOptions(smoothed=smoother == "cell", draws=draws, seed=seed)
        found = call(
            folder, cell or (), options=options, device=device, plugins=plugin or (), progress=terminal_progress()
        )
        for each in found:
            _print(each)
        out.print(f"\nwritten to {folder / 'attribution.csv'}", markup=False, highlight=False, soft_wrap=True)


def _print(ablation: Ablation) -> None:
    from fusionkit.report.ablation import ablation_lines, ablation_table

    out.print()
    out.print(ablation_table(ablation))
    for line in ablation_lines(ablation):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    print_rest(ablation.tested)


def print_rest(tested: Retested) -> None:
    """What the numbers rest on, and what to be careful of."""
    out.print(escape(tested.caption()), style="dim", highlight=False)
    for note in tested.warnings():
        err.print(f"[yellow]warning:[/] {escape(note)}", soft_wrap=True, highlight=False)


def terminal_progress() -> Progress:
    """Bars where somebody is looking, else lines."""
    from fusionkit.cli.progress import BarProgress, LineProgress

    return BarProgress(err) if is_interactive() else LineProgress(err)
