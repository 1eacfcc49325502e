"""Data of a run folder: one row per configuration, with scores, intervals, differences and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fusionkit.engine.score import Score
from fusionkit.errors import DataError
from fusionkit.grid.axes import Axes
from fusionkit.grid.folder import RunFolder, StoredCell, failed_cells
from fusionkit.stats.bootstrap import bootstrap_difference, bootstrap_interval
from fusionkit.stats.intervals import (
    Estimate,
    accuracy,
    holm,
    interval,
    macro_f1,
    paired_difference,
    permutation_p,
    uar,
)

Intervals = Literal["jackknife", "bootstrap"]
_WAYS = {
    "jackknife": (interval, paired_difference, "delete-one-unit jackknife-t"),
    "bootstrap": (bootstrap_interval, bootstrap_difference, "percentile bootstrap of units and seeds"),
}


@dataclass(frozen=True, eq=False)
class Row:
    """One row.

    Attributes:
        score: macro-F1 with its 95 % interval; None where no seed is complete.
        sd: standard deviation of macro-F1 over seeds; NaN for one seed.
        delta: difference to the reference row, with its interval; None for the reference or where seeds do not match.
        p: two-sided, of the unit-swap permutation test; NaN where there is no delta.
        p_holm: p, Holm-corrected over the rows of the table.
        chosen: the smoother as it was settled on dev.
        chosen_recipe: the recipe, likewise; of a sweep that has no finished cell the whole sweep.
        means: mean over cells of the scalars that need no interval.
    """

    id: str
    axes: Axes
    is_reference: bool
    score: Estimate | None
    sd: float
    delta: Estimate | None
    p: float
    p_holm: float
    chosen: str
    chosen_recipe: str
    means: dict[str, float]
    failures: dict[str, str]
    seeds: list[int]


@dataclass(frozen=True, eq=False)
class StoredRow:
    """What is stored of a row: finished cells by seed and fold, counts of the seeds of which all folds are done."""

    entry: dict[str, Any]
    cells: dict[tuple[int, str], StoredCell]
    counts: dict[int, np.ndarray]  # (U, C, C) by seed, over all folds
    units: np.ndarray
    failures: dict[str, str] = field(default_factory=dict)


class RunResults:
    """The results in a run folder.

    Args:
        folder: a path, or an opened folder.
        intervals: of the rows. The percentile bootstrap is what most papers report; it covers less than it says where
            units are few.

    Raises:
        DataError: if there is no grid in it.
    """

    def __init__(self, folder: RunFolder | Path | str, intervals: Intervals = "jackknife") -> None:
        self._interval, self._difference, self.intervals = _WAYS[intervals]
        self.folder = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))
        grid = self.folder.load_grid()
        if grid is None:
            raise DataError(f"{self.folder.path} holds no grid", hint="a folder that fusionkit bench has written to")
        self.grid: dict[str, Any] = grid
        self._stored: dict[str, StoredCell | None] = {}

    @cached_property
    def rows(self) -> list[Row]:
        """A row a row, in plan order."""
        loaded = {record["id"]: self.load(record) for record in self.grid["rows"]}
        references = {each.entry["reference"] for each in loaded.values()}
        rows = [self._row(each, loaded.get(each.entry["reference"]), references) for each in loaded.values()]
        corrected = holm(np.array([row["p"] for row in rows]))
        return [Row(**row, p_holm=float(p)) for row, p in zip(rows, corrected, strict=True)]

    def cells(self) -> list[dict[str, Any]]:
        """A record a cell, in plan order: axes, seed, fold, state, scalars."""
        found = []
        for record in self.grid["rows"]:
            failures = failed_cells(self.folder, record["cells"])
            for cell in record["cells"]:
                stored = self._read(cell["id"])
                state = "done" if stored else ("failed" if cell["id"] in failures else "planned")
                error = "" if stored else failures.get(cell["id"], "")
                info = stored.info if stored else {}
                found.append({**cell, "axes": record["axes"], "state": state, "error": error, **info})
        return found

    def load(self, record: dict[str, Any]) -> StoredRow:
        """The finished cells of a row's record, or of a part of it, with their counts pooled over folds."""
        cells = {(cell["seed"], cell["fold"]): self._read(cell["id"]) for cell in record["cells"]}
        done = {key: cell for key, cell in cells.items() if cell is not None}
        counts: dict[int, np.ndarray] = {}
        units = np.array([], dtype=np.str_)
        for seed in sorted({seed for seed, _ in cells}):
            folds = sorted(fold for other, fold in cells if other == seed)
            parts = [done.get((seed, fold)) for fold in folds]
            whole = [part for part in parts if part is not None]
            if len(whole) == len(parts):
                counts[seed], units = pooled(whole)
        failures = failed_cells(self.folder, record["cells"])
        return StoredRow(record, done, counts, units, failures)

    def _read(self, cell: str) -> StoredCell | None:
        """A cell, read once: rows, CSV files, warnings and attributions all look at it."""
        if cell not in self._stored:
            self._stored[cell] = self.folder.read_cell(cell)
        return self._stored[cell]

    def _row(self, own: StoredRow, reference: StoredRow | None, references: set[str | None]) -> dict[str, Any]:
        seeds = sorted(own.counts)
        counts = np.stack([own.counts[seed] for seed in seeds]) if seeds else None
        delta, p = self._compared(own, reference) if reference else (None, float("nan"))
        infos = [cell.info for (seed, _), cell in own.cells.items() if seed in own.counts]
        settled = {**own.entry["axes"], **(infos[0] if infos else {})}  # the axes as asked, where nothing is done yet
        return {
            "id": own.entry["id"],
            "axes": Axes(**own.entry["axes"]),
            "is_reference": own.entry["id"] in references,
            "score": self._interval(counts) if counts is not None else None,
            "sd": float(np.std(macro_f1(counts.sum(1)), ddof=1))
            if counts is not None and len(seeds) > 1
            else float("nan"),
            "delta": delta,
            "p": p,
            "chosen": settled["smoother"],
            "chosen_recipe": settled["recipe"],
            "means": {} if counts is None else _means(infos, counts.sum(1)),
            "failures": own.failures,
            "seeds": seeds,
        }

    def _compared(self, own: StoredRow, reference: StoredRow) -> tuple[Estimate | None, float]:
        seeds = sorted(own.counts.keys() & reference.counts.keys())
        if not seeds:
            return None, float("nan")
        if not np.array_equal(own.units, reference.units):
            raise DataError(f"rows {own.entry['id']} and {reference.entry['id']} were tested on different units")
        a = np.stack([own.counts[seed] for seed in seeds])
        b = np.stack([reference.counts[seed] for seed in seeds])
        return self._difference(a, b), permutation_p(a, b)


def pooled(cells: Sequence[StoredCell | Score]) -> tuple[np.ndarray, np.ndarray]:
    """Counts (U, C, C) of all folds together, and the units (U,).

    Each unit is tested in one fold, or its counts are added up.
    """
    names = np.concatenate([cell.units for cell in cells])
    units, codes = np.unique(names, return_inverse=True)
    classes = cells[0].counts.shape[-1]
    counts = np.zeros((len(units), classes, classes), dtype=np.int64)
    np.add.at(counts, codes, np.concatenate([cell.counts for cell in cells]).astype(np.int64))
    return counts, units


def _means(infos: list[dict[str, Any]], counts: np.ndarray) -> dict[str, float]:
    """Means over seeds, of folds pooled; counts of frames and clips are the same for every seed.

    Args:
        infos: of the cells of complete seeds.
        counts: (S, C, C) of the same seeds.
    """
    found = {"accuracy": float(accuracy(counts).mean()), "uar": float(uar(counts).mean())}
    found |= {name: float(np.mean([info[name] for info in infos])) for name in ("params", "gflops")}
    frames = [info["n_frames"] for info in infos]
    found["ece"] = float(np.average([info["ece"] for info in infos], weights=frames))
    first = [info for info in infos if info["seed"] == infos[0]["seed"]]
    for name in ("n_frames", "n_clips", "n_complete"):
        found[name] = float(sum(info[name] for info in first))
    found["imputed"] = float(sum(info.get("imputed", 0) for info in first))  # not noted by the first versions
    found["coverage"] = found["n_complete"] / found["n_frames"]
    return found
