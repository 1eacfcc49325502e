"""``fusionkit ablate``: measure what the views of trained rows contribute, without training."""

from __future__ import annotations

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import out, print_line, print_summary, reporting


def ablate(
    folder: options.Folder,
    cell: options.Cells = None,
    draws: options.Draws = 10,
    seed: options.DrawSeed = 0,
    smoother: options.Smoothing = "cell",
    plugin: options.Plugins = None,
    device: options.Device = "auto",
    debug: options.Debug = False,
) -> None:
    """Measure the score drop when a view is shuffled, blanked or removed.

    The heads are not retrained. shuffle: the embeddings of the view are permuted among the test frames. zero: each is
    replaced by its mean over the training frames. drop: the view is marked as missing. masked Shapley: the share of the
    view in the score of all views over no view, from every subset of them; bench --subsets retrains the heads instead.
    If the folder holds the main view twice (bench --regions face), the gain over the main view alone is split into the
    effect of more parameters and that of the region. Results are written to attribution.csv in DIR.

    Examples:

      fusionkit ablate runs/regions --cell face,eye/mlp/none

      fusionkit ablate runs/regions --smoother none
    """
    with reporting(debug):
        from fusionkit.cli.progress import stage_progress

        found = api.ablate(
            folder,
            cell or (),
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
        print_line(f"written to {folder / 'attribution.csv'}")
