"""``fusionkit compare``: compare two rows of a run folder."""

from __future__ import annotations

from fusionkit import api
from fusionkit.cli import options
from fusionkit.cli.console import print_summary, reporting


def compare(
    folder: options.Folder,
    a: options.Row,
    b: options.Baseline,
    test: options.Test = "crossed",
    debug: options.Debug = False,
) -> None:
    """Compare two rows or cells of a run, overall and per class, on the same frames and seeds.

    A negative difference means that B is better. A name may be shortened to an unambiguous part.

    Examples:

      fusionkit compare runs/regions face,eye/concat/none face/linear/none

      fusionkit compare runs/regions concat linear

      fusionkit compare runs/regions 3fa29c1 07be
    """
    with reporting(debug):
        print_summary(api.summarize(api.compare(folder, a, b, test=test)))
