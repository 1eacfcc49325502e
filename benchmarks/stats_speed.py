"""How long do the intervals and tests of a large grid take? Against plain loops that do the same.

    python benchmarks/stats_speed.py

Counts as a grid of 500 cells leaves them (100 rows of 5 seeds, 8 classes) on as many test clips as ABAW's expression
challenge has in its test set, each clip a unit. Every cell is compared by itself, which is five times the tests that a
table needs; then the table is made from the stored cells of a run folder, as ``fusionkit report`` makes it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from expression import interval, paired_difference, permutation_p
from rich.console import Console
from rich.table import Table

from fusionkit.engine.score import Score
from fusionkit.grid.folder import GRID_SCHEMA, RunFolder
from fusionkit.report.csv_files import AXES
from fusionkit.report.run import Results

SEEDS = 5
CLASSES = 8
LEVEL = 0.95


def cpu() -> float:
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock and of the processor."""
    wall, used = time.perf_counter(), cpu()
    work()
    return time.perf_counter() - wall, cpu() - used


def make_rows(rows: int, units: int) -> list[np.ndarray]:
    """Counts (S, U, C, C) of each row; later rows are a little better."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 120, (units, CLASSES))
    behaviour = [np.ones((CLASSES, CLASSES)) + (2 + row / rows) * np.eye(CLASSES) for row in range(rows)]
    return [
        np.stack([rng.multinomial(truth, each / each.sum(1, keepdims=True)) for _ in range(SEEDS)])
        for each in behaviour
    ]


# -- the same as plain loops -------------------------------------------------------------------------------------------


def loop_f1(counts: np.ndarray) -> float:
    """Macro-F1 of a matrix (C, C)."""
    scores = [2 * counts[c, c] / (counts[c].sum() + counts[:, c].sum()) for c in range(CLASSES) if counts[c].sum()]
    return float(np.mean(scores))


def loop_left_out(counts: np.ndarray) -> list[float]:
    """Macro-F1 of one cell (U, C, C) without each unit: what every jackknife interval is made of."""
    return [loop_f1(np.delete(counts, unit, axis=0).sum(0)) for unit in range(len(counts))]


def loop_p(a: np.ndarray, b: np.ndarray, permutations: int) -> float:
    """P of two cells (U, C, C) by swapping units and adding up anew."""
    rng, observed, extreme = np.random.default_rng(0), abs(loop_f1(a.sum(0)) - loop_f1(b.sum(0))), 0
    for _ in range(permutations):
        swap = rng.random(len(a)) < 0.5
        one, other = np.where(swap[:, None, None], b, a), np.where(swap[:, None, None], a, b)
        extreme += abs(loop_f1(one.sum(0)) - loop_f1(other.sum(0))) >= observed - 1e-12
    return (1 + extreme) / (1 + permutations)


# -- a run folder ------------------------------------------------------------------------------------------------------


def write_folder(path: Path, rows: list[np.ndarray]) -> None:
    folder, entries = RunFolder(path), []
    for row, counts in enumerate(rows):
        cells = [
            {"id": f"{row}-{seed}", "heads": {"made": f"{row}-{seed}"}, "seed": seed, "fold": "official"}
            for seed in range(SEEDS)
        ]
        for cell, each in zip(cells, counts, strict=True):
            units = np.array([f"clip{unit:04d}" for unit in range(len(each))])
            diagnostics = {"ece": 0.1, "predicted_classes": float(CLASSES)}
            info: dict[str, Any] = dict.fromkeys(("params", "gflops", "n_complete", "imputed", "steps"), 1.0)
            info |= {"head": cell["id"], "seed": cell["seed"], "fold": "official", "recipe": "made", "smoother": "none"}
            info |= {"n_frames": int(each.sum()), "n_clips": len(units), "task": "expression", "member": 0}
            info |= {"scores": dict.fromkeys(map(str, range(CLASSES)), 0), "measures": {}, "ceiling": None}
            info |= {"diagnostics": diagnostics}
            folder.write_cell(str(cell["id"]), Score(units, each, diagnostics), info)
        axes = {**dict.fromkeys(AXES, "made"), "fusion": f"fusion{row}"}
        axes |= {"task": "expression", "learned_with": "none", "labels": "frame"}
        entries.append(
            {
                "id": f"row{row}",
                "axes": axes,
                "reference": "row0" if row else None,
                "random_weights": [],
                "cells": cells,
            }
        )
    grid = {"schema": GRID_SCHEMA, "protocol": "made", "data": [], "grids": [], "rows": entries, "notes": []}
    grid["impute"] = "nearest"
    folder.write_grid(grid)


# -- the claims --------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--units", type=int, default=317)
    parser.add_argument("--permutations", type=int, default=10_000)
    options = parser.parse_args()
    rows = make_rows(options.cells // SEEDS, options.units)
    cells = [row[seed : seed + 1] for row in rows for seed in range(SEEDS)]
    first, others = cells[0], cells[1:]
    permutation_p(first, others[0], 16)  # whatever is loaded on first use
    interval(first)

    ours = {
        "intervals": timed(lambda: [interval(cell) for cell in cells]),
        "paired differences": timed(lambda: [paired_difference(cell, first) for cell in others]),
        "permutation tests": timed(lambda: [permutation_p(cell, first, options.permutations) for cell in others]),
    }
    # Loops on a few, times how many there are.
    few, swaps = 5, 500
    _, left = timed(lambda: [loop_left_out(cell[0]) for cell in cells[:few]])
    _, swapped = timed(lambda: [loop_p(cell[0], first[0], swaps) for cell in others[:few]])
    loops = {
        "intervals": left / few * len(cells),
        "paired differences": left / few * 2 * len(others),
        "permutation tests": swapped / few * len(others) * options.permutations / swaps,
    }
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), rows)
        report = timed(lambda: Results(RunFolder(Path(folder))).rows)

    title = f"{len(cells)} cells, {options.units} units, {options.permutations:,} permutations"
    table = Table("", "s", "CPU s", "plain loops, CPU s", "ratio", title=title)
    for name, (wall, used) in ours.items():
        table.add_row(name, f"{wall:.2f}", f"{used:.2f}", f"{loops[name]:,.0f}", f"{loops[name] / used:,.0f}")
    table.add_row(f"a report of {len(rows)} rows, from files", *(f"{value:.2f}" for value in report), "", "")
    console = Console()
    console.print(table)
    console.print(f"plain loops: {few} cells and {swaps} permutations of each, extrapolated")
    total, intervals = sum(wall for wall, _ in ours.values()), ours["intervals"][0]
    kept = total < 30 and intervals < 2
    verdict = "kept" if kept else "MISSED"
    console.print(f"intervals in {intervals:.2f} s (claim: 2), all in {total:.2f} s (claim: 30): {verdict}")
    raise SystemExit(0 if kept else 1)


if __name__ == "__main__":
    main()
