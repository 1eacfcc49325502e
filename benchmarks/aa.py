"""How often is a difference claimed between a method and itself? An A/A test of a whole grid, through the real engine.

    python benchmarks/aa.py [--fusions mlp,concat] [--people 22] [--twins 16] [--seeds 10]

One fusion is trained with twins x seeds random seeds, on HOG features of eye and mouth of the synthetic faces. Each run
of seeds is then a row of its own, a twin, as if it were another method: every difference between twins is chance. The
rows are tested as those of any grid. With S seeds a row, the seeds of a twin make several grids.

Power is measured on twins of the fusion against twins of plain-mean, which differ in truth.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from itertools import combinations, product
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import fusionkit
from fusionkit.grid.contrasts import Contrasts, StoredRow, Test
from fusionkit.grid.results import RunResults
from fusionkit.stats.crossed import Estimate
from fusionkit.stats.intervals import permutation_p

SIZES = (1, 2, 3, 5, 10)  # seeds of a row
OTHER = "plain-mean"


def twins(row: StoredRow, seeds: Sequence[int], size: int) -> list[StoredRow]:
    """Rows of ``size`` seeds each, as different fusions with heads of their own."""
    found = []
    for start in range(0, len(seeds) - size + 1, size):
        name = f"{row.entry['axes']['fusion']} {start}"
        entry = {
            "id": name,
            "axes": {**row.entry["axes"], "fusion": name},
            "cells": [{"seed": 0, "fold": "", "id": name, "heads": {"": name}}],
        }
        counts = {index: row.counts[seed] for index, seed in enumerate(seeds[start : start + size])}
        found.append(StoredRow(entry, row.cells, counts, row.units))
    return found


def grids(row: StoredRow, n_twins: int, size: int) -> Iterator[list[StoredRow]]:
    """Grids of ``n_twins`` twins with ``size`` seeds each, from disjoint seeds."""
    every = twins(row, row.seeds, size)
    for start in range(0, len(every) - n_twins + 1, n_twins):
        yield every[start : start + n_twins]


def differences(rows: list[StoredRow], pairs: Sequence[tuple[int, int]], test: Test) -> list[Estimate]:
    contrasts = Contrasts(rows, test)
    found = [contrasts.difference([rows[a]], [rows[b]]) for a, b in pairs]
    return [each for each in found if each]


def former(rows: list[StoredRow], pairs: Sequence[tuple[int, int]]) -> list[bool]:
    """Claims by the former rule: the permutation test rejects and the sum of both variances leaves out 0."""
    claims = []
    for a, b in pairs:
        x, y = (np.stack([rows[index].counts[seed] for seed in rows[index].seeds]) for index in (a, b))
        claims.append(permutation_p(x, y, 2000) <= 0.05 and summed_interval_excludes_zero(rows[a], rows[b]))
    return claims


def summed_interval_excludes_zero(a: StoredRow, b: StoredRow) -> bool:
    from scipy.special import stdtrit

    full, left = (
        np.array([a.statistics[seed][part][..., 0] - b.statistics[seed][part][..., 0] for seed in a.seeds])
        for part in (0, 1)
    )
    units, seeds = left.shape[1], len(full)
    bias = (units - 1) * (left.mean() - full.mean())
    of_units = (units - 1) * left.mean(0).var() + bias**2
    of_seeds = full.var(ddof=1) / seeds if seeds > 1 else 0.0
    spread = of_units**2 / (units - 1) + of_seeds**2 / max(seeds - 1, 1)
    half = stdtrit((of_units + of_seeds) ** 2 / spread, 0.975) * (of_units + of_seeds) ** 0.5
    return bool(abs(full.mean() - bias) > half)


def rate(found: Sequence[bool], independent: int) -> str:
    """The share, with its binomial error for that many independent comparisons."""
    share = float(np.mean(found))
    return f"{100 * share:.1f} ± {100 * (share * (1 - share) / independent) ** 0.5:.1f} %"


def measure(folder: Path, fusion: str, n_twins: int, table: Table) -> None:
    results = RunResults(folder)
    rows = {row.axes.fusion: row for row in results.scored}
    for size in SIZES:
        if size * n_twins > len(rows[fusion].seeds):
            continue
        pairs = list(combinations(range(n_twins), 2))
        new: list[bool] = []
        raw: list[bool] = []
        old: list[bool] = []
        power: list[bool] = []
        before: list[bool] = []
        others = list(grids(rows[OTHER], n_twins, size))
        for index, grid in enumerate(grids(rows[fusion], n_twins, size)):
            found = differences(grid, pairs, "crossed")
            new += [each.p <= 0.05 for each in found]
            raw += [each.low > 0 or each.high < 0 for each in found]
            old += former(grid, pairs)
            mixed = [*grid[: n_twins // 2], *others[index][n_twins // 2 :]]
            across = list(product(range(n_twins // 2), range(n_twins // 2, n_twins)))
            power += [each.p <= 0.05 for each in differences(mixed, across, "crossed")]
            before += former(mixed, across)
        independent = len(new) * 2 // n_twins  # of n twins, about n - 1 comparisons are independent
        table.add_row(
            fusion, str(size), str(len(new)), rate(old, independent), rate(new, independent), rate(raw, independent),
            rate(before, len(before) // (n_twins // 2)), rate(power, len(power) // (n_twins // 2)),
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fusions", default="mlp,concat")
    parser.add_argument("--people", type=int, default=22, help="people of the test split, and of each other split")
    parser.add_argument("--twins", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=10, help="seeds of a twin")
    parser.add_argument("--folder", type=Path, help="run folder, to go on with; default: a temporary one")
    given = parser.parse_args()
    console = Console()
    table = Table("fusion", "seeds", "pairs", "claimed before", "claimed", "0 outside", "power before", "power")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "run"
        for fusion in given.fusions.split(","):
            path = folder / fusion
            fusionkit.bench(
                out=path,
                datasets=[f"synthetic:train={given.people},val={given.people},test={given.people}"],
                backbones=["hog"],
                regions=["eye,mouth"],
                fusions=[fusion, OTHER],
                smoothers=["none"],
                main="none",
                reference="none",
                seeds=given.twins * given.seeds,
            )
            measure(path, fusion, given.twins, table)
            console.print(table)


if __name__ == "__main__":
    main()
