"""How often is a difference claimed between a method and itself? An A/A test of a whole grid, through the real engine.

    python benchmarks/aa.py [--task expression] [--fusions mlp,concat] [--people 300] [--units 20,70,300] [--heads 160]

One fusion is trained with many random seeds, on HOG features of eye and mouth of the synthetic faces, and tested on
many people. In each deal, people are drawn at random, and seeds are dealt to twins at random. Each twin is a row of its
own, as if it were another method: every difference between twins is chance. The rows are tested as those of any grid.

- Claimed: the share of pairs of twins that are claimed to differ, at p <= .05. Asked: 5 %.
- Coverage: the share of the intervals of twins' scores that hold the mean score of all seeds on all people.
- Power: the same as claimed, of twins of the fusion against twins of plain-mean, which differ in truth, on a
  quarter of the people.
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


def rate(found: Sequence[Sequence[bool]]) -> str:
    """The share over all deals, with its standard error over deals."""
    shares = [float(np.mean(each)) for each in found]
    return f"{100 * np.mean(shares):.1f} ± {100 * np.std(shares, ddof=1) / len(shares) ** 0.5:.1f} %"


def coverage(rows: list[StoredRow], truth: float) -> list[bool]:
    contrasts = Contrasts(rows)
    found = [contrasts.score(row) for row in rows]
    return [each.low <= truth <= each.high for each in found]


def measure(folder: Path, fusion: str, given: argparse.Namespace, table: Table) -> None:
    rows = {row.axes.fusion: row for row in RunResults(folder).scored}
    own, other, half = rows[fusion], rows[OTHER], given.twins // 2
    pairs = list(combinations(range(given.twins), 2))
    across = list(product(range(half), range(half, given.twins)))
    for units, size in product(map(int, given.units.split(",")), SIZES):
        if size * given.twins > len(own.seeds) or units > len(own.units):
            continue
        rng = np.random.default_rng([units, size])
        found: dict[str, list[list[bool]]] = {}
        for _ in track(range(given.deals), f"{fusion}, {units} people, {size} seeds", transient=True):
            people = rng.permutation(len(own.units))[:units]
            grid = deal(own, given.twins, size, rng, people)
            few = people[: max(units // 4, 5)]
            mixed = deal(own, half, size, rng, few) + deal(other, half, size, rng, few)
            estimates = differences(grid, pairs)
            outcomes = {
                "claimed": [each.p <= 0.05 for each in estimates],
                "interval": [each.low > 0 or each.high < 0 for each in estimates],
                "coverage": coverage(grid, own.score),
                "power": [each.p <= 0.05 for each in differences(mixed, across)],
            }
            for name, outcome in outcomes.items():
                found.setdefault(name, []).append(outcome)
        claimed = f"none ({rate(found['interval'])})" if size == 1 else rate(found["claimed"])
        power = "none" if size == 1 else rate(found["power"])
        held = rate(found["coverage"]) if units <= len(own.units) / 3 and size > 1 else "-"
        table.add_row(fusion, str(units), str(size), claimed, held, power)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="expression")
    parser.add_argument("--fusions", default="mlp,concat")
    parser.add_argument("--people", type=int, default=300, help="people of the test split; train and val have 22 each")
    parser.add_argument("--units", default="20,70,300", help="numbers of people drawn in a deal")
    parser.add_argument("--heads", type=int, default=160, help="seeds of each fusion")
    parser.add_argument("--twins", type=int, default=16)
    parser.add_argument("--deals", type=int, default=60, help="random draws of people, and of seeds to twins")
    parser.add_argument("--folder", type=Path, help="run folder, to go on with; default: a temporary one")
    given = parser.parse_args()
    console = Console()
    table = Table("fusion", "people", "seeds", "claimed (1 seed: 0 outside)", "coverage", "power")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "run"
        for fusion in given.fusions.split(","):
            path = folder / fusion
            fusionkit.bench(
                out=path,
                task=given.task,
                datasets=[f"synthetic:train=22,val=22,test={given.people}"],
                backbones=["hog"],
                regions=["eye,mouth"],
                fusions=[fusion, OTHER],
                smoothers=["none"],
                main="none",
                reference="none",
                seeds=given.heads,
            )
            measure(path, fusion, given, table)
            console.print(table)


if __name__ == "__main__":
    main()
