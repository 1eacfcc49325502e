"""How often is a difference claimed between a method and itself? An A/A test of a whole grid, through the real engine.

    python benchmarks/aa.py [--fusions mlp,concat] [--people 22] [--twins 16] [--seeds 10]

One fusion is trained with twins x seeds random seeds, on HOG features of eye and mouth of the synthetic faces. The
seeds are dealt to twins at random, and each twin is a row of its own, as if it were another method: every difference
between twins is chance. The rows are tested as those of any grid. This is repeated with other deals of the same seeds.

Power is measured on twins of the fusion against twins of plain-mean, which differ in truth, on few of the people, where
a difference is hard to find.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import fusionkit
from fusionkit.grid.contrasts import Contrasts, StoredRow
from fusionkit.grid.results import RunResults
from fusionkit.stats.crossed import Estimate
from fusionkit.stats.intervals import permutation_p

SIZES = (1, 2, 3, 5, 10)  # seeds of a row
OTHER = "plain-mean"


def deal(row: StoredRow, twins: int, size: int, rng: np.random.Generator, units: np.ndarray) -> list[StoredRow]:
    """Rows of ``size`` seeds each, dealt at random, as different fusions with heads of their own."""
    seeds = rng.permutation(row.seeds)[: twins * size].reshape(twins, size)
    found = []
    for twin, own in enumerate(seeds.tolist()):
        name = f"{row.entry['axes']['fusion']} {twin}"
        entry = {
            "id": name,
            "axes": {**row.entry["axes"], "fusion": name},
            "cells": [{"seed": 0, "fold": "", "id": name, "heads": {"": name}}],
        }
        counts = {index: row.counts[seed][units] for index, seed in enumerate(own)}
        found.append(StoredRow(entry, row.cells, counts, row.units[units]))
    return found


def differences(rows: list[StoredRow], pairs: Sequence[tuple[int, int]]) -> list[Estimate]:
    contrasts = Contrasts(rows)
    found = [contrasts.difference([rows[a]], [rows[b]]) for a, b in pairs]
    return [each for each in found if each]


def former(rows: list[StoredRow], pairs: Sequence[tuple[int, int]]) -> list[bool]:
    """Claims by the former rule: the permutation test rejects and the sum of both variances leaves out 0."""
    claims = []
    for a, b in pairs:
        x, y = (np.stack([rows[index].counts[seed] for seed in rows[index].seeds]) for index in (a, b))
        claims.append(permutation_p(x, y, 300) <= 0.05 and summed_interval_excludes_zero(rows[a], rows[b]))
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


def rate(found: Sequence[Sequence[bool]]) -> str:
    """The share over all deals, with its standard error over deals."""
    shares = [float(np.mean(each)) for each in found]
    return f"{100 * np.mean(shares):.1f} ± {100 * np.std(shares, ddof=1) / len(shares) ** 0.5:.1f} %"


def measure(folder: Path, fusion: str, given: argparse.Namespace, table: Table) -> None:
    rows = {row.axes.fusion: row for row in RunResults(folder).scored}
    own, other, half = rows[fusion], rows[OTHER], given.twins // 2
    everyone = np.arange(len(own.units))
    pairs = list(combinations(range(given.twins), 2))
    across = list(product(range(half), range(half, given.twins)))
    for size in SIZES:
        if size * given.twins > len(own.seeds):
            continue
        rng = np.random.default_rng(size)
        found: dict[str, list[list[bool]]] = {name: [] for name in ("before", "p", "interval", "power before", "power")}
        for _ in track(range(given.deals), f"{fusion}, {size} seeds", transient=True):
            grid = deal(own, given.twins, size, rng, everyone)
            estimates = differences(grid, pairs)
            found["p"].append([each.p <= 0.05 for each in estimates])
            found["interval"].append([each.low > 0 or each.high < 0 for each in estimates])
            found["before"].append(former(grid, pairs))
            few = rng.permutation(everyone)[: max(len(everyone) // 3, 5)]
            mixed = deal(own, half, size, rng, few) + deal(other, half, size, rng, few)
            found["power"].append([each.p <= 0.05 for each in differences(mixed, across)])
            found["power before"].append(former(mixed, across))
        columns = ("before", "interval" if size == 1 else "p", "power before", "power")
        table.add_row(fusion, str(size), *(rate(found[name]) for name in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fusions", default="mlp,concat")
    parser.add_argument("--people", type=int, default=22, help="people of the test split, and of each other split")
    parser.add_argument("--twins", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=10, help="seeds of a twin")
    parser.add_argument("--deals", type=int, default=20, help="random deals of the seeds to twins")
    parser.add_argument("--folder", type=Path, help="run folder, to go on with; default: a temporary one")
    given = parser.parse_args()
    console = Console()
    table = Table("fusion", "seeds", "claimed before", "claimed (1 seed: 0 outside)", "power before", "power")
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
            measure(path, fusion, given, table)
            console.print(table)


if __name__ == "__main__":
    main()
