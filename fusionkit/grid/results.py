"""Results of a run folder: one row per configuration, with scores, intervals, differences and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fusionkit.engine.score import Score
from fusionkit.errors import DataError
from fusionkit.grid.axes import RANDOM_MARK, Axes
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
_METHODS = {
    "jackknife": (interval, paired_difference, "delete-one-unit jackknife-t"),
    "bootstrap": (bootstrap_interval, bootstrap_difference, "percentile bootstrap of units and seeds"),
}


@dataclass(frozen=True, eq=False)
class Row:
    """One row of ``results.csv``.

    Attributes:
        score: macro-F1 with its 95 % interval; None if no seed is complete.
        sd: standard deviation of macro-F1 over seeds; NaN for one seed.
        delta: difference from the reference row, with its interval; None for the reference, or without common seeds.
        p: two-sided p of the unit-swap permutation test; NaN without delta.
        p_holm: p, Holm-corrected over the rows of the table.
        chosen: smoother with the options chosen on dev.
        chosen_recipe: recipe chosen on dev; the whole sweep if no cell is finished.
        means: means over cells of scalars without interval.
        failures: message by cell id.
        seeds: complete seeds.
        random_backbones: backbones of the row that have random weights.
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
    random_backbones: list[str]

    @property
    def name(self) -> str:
        """``views/fusion/smoother``, with a mark of random weights."""
        return f"{self.axes.name}{RANDOM_MARK}" if self.random_backbones else self.axes.name


@dataclass(frozen=True, eq=False)
class StoredRow:
    """Stored data of a row.

    Attributes:
        entry: the row as in ``grid.json``.
        cells: finished cells by seed and fold.
        counts: (U, C, C) by seed, over all folds; only complete seeds.
        units: (U,) tested units (subjects or videos).
        failures: message by cell id.
    """

    entry: dict[str, Any]
    cells: dict[tuple[int, str], StoredCell]
    counts: dict[int, np.ndarray]
    units: np.ndarray
    failures: dict[str, str] = field(default_factory=dict)


class RunResults:
    """Results of a run folder.

    Args:
        folder: a path or an opened folder.
        intervals: method of the rows' intervals. Most papers report the percentile bootstrap; with few units its
            coverage is below the nominal one.

    Raises:
        DataError: if the folder has no grid.
    """

    def __init__(self, folder: RunFolder | Path | str, intervals: Intervals = "jackknife") -> None:
        self._interval, self._difference, self.intervals = _METHODS[intervals]
        self.folder = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))
        grid = self.folder.load_grid()
        if grid is None:
            raise DataError(f"{self.folder.path} holds no grid", hint="a folder that fusionkit bench has written to")
        self.grid: dict[str, Any] = grid
        self._cells: dict[str, StoredCell | None] = {}

    @cached_property
    def rows(self) -> list[Row]:
        """Rows in plan order."""
        stored = {entry["id"]: self.load(entry) for entry in self.grid["rows"]}
        references = {each.entry["reference"] for each in stored.values()}
        rows = [self._row(each, stored.get(each.entry["reference"]), references) for each in stored.values()]
        corrected = holm(np.array([row["p"] for row in rows]))
        return [Row(**row, p_holm=float(p)) for row, p in zip(rows, corrected, strict=True)]

    def cells(self) -> list[dict[str, Any]]:
        """Return one dict per cell, in plan order: axes, seed, fold, state, scalars."""
        found = []
        for entry in self.grid["rows"]:
            failures = failed_cells(self.folder, entry["cells"])
            for cell in entry["cells"]:
                stored = self._cell(cell["id"])
                state = "done" if stored else ("failed" if cell["id"] in failures else "planned")
                error = "" if stored else failures.get(cell["id"], "")
                info = stored.info if stored else {}
                row = {"axes": entry["axes"], "random_weights": entry["random_weights"]}
                found.append({**cell, **row, "state": state, "error": error, **info})
        return found

    def load(self, entry: dict[str, Any]) -> StoredRow:
        """Return the stored data of a row, or of some of its cells, with counts pooled over folds."""
        cells = {(cell["seed"], cell["fold"]): self._cell(cell["id"]) for cell in entry["cells"]}
        done = {key: cell for key, cell in cells.items() if cell is not None}
        counts: dict[int, np.ndarray] = {}
        units = np.array([], dtype=np.str_)
        for seed in sorted({seed for seed, _ in cells}):
            keys = sorted(key for key in cells if key[0] == seed)
            if all(key in done for key in keys):
                counts[seed], units = pooled([done[key] for key in keys])
        return StoredRow(entry, done, counts, units, failed_cells(self.folder, entry["cells"]))

    def _cell(self, cell: str) -> StoredCell | None:
        """A cell, read once: rows, CSV files, warnings and attributions all use it."""
        if cell not in self._cells:
            self._cells[cell] = self.folder.read_cell(cell)
        return self._cells[cell]

    def _row(self, own: StoredRow, reference: StoredRow | None, references: set[str | None]) -> dict[str, Any]:
        seeds = sorted(own.counts)
        counts = np.stack([own.counts[seed] for seed in seeds]) if seeds else None
        delta, p = self._compared(own, reference) if reference else (None, float("nan"))
        infos = [cell.info for (seed, _), cell in own.cells.items() if seed in own.counts]
        chosen = {**own.entry["axes"], **(infos[0] if infos else {})}  # the request, if no seed is complete
        return {
            "id": own.entry["id"],
            "axes": Axes(**own.entry["axes"]),
            "is_reference": own.entry["id"] in references,
            "score": self._interval(counts) if counts is not None else None,
            "sd": _sd(counts),
            "delta": delta,
            "p": p,
            "chosen": chosen["smoother"],
            "chosen_recipe": chosen["recipe"],
            "means": {} if counts is None else _means(infos, counts.sum(1)),
            "failures": own.failures,
            "seeds": seeds,
            "random_backbones": own.entry["random_weights"],
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


def _sd(counts: np.ndarray | None) -> float:
    """Standard deviation of macro-F1 over seeds, of counts (S, U, C, C); NaN for one seed or none."""
    return float("nan") if counts is None or len(counts) < 2 else float(np.std(macro_f1(counts.sum(1)), ddof=1))


def pooled(cells: Sequence[StoredCell | Score]) -> tuple[np.ndarray, np.ndarray]:
    """Return counts (U, C, C) summed over folds, and the units (U,).

    Usually each unit is tested in one fold.
    """
    names = np.concatenate([cell.units for cell in cells])
    units, codes = np.unique(names, return_inverse=True)
    classes = cells[0].counts.shape[-1]
    counts = np.zeros((len(units), classes, classes), dtype=np.int64)
    np.add.at(counts, codes, np.concatenate([cell.counts for cell in cells]).astype(np.int64))
    return counts, units


def _means(infos: list[dict[str, Any]], counts: np.ndarray) -> dict[str, float]:
    """Means over seeds, with folds pooled. Numbers of frames and clips are the same for every seed.

    Args:
        infos: of the cells of complete seeds.
        counts: (S, C, C) of the same seeds.
    """
    found = {"accuracy": float(accuracy(counts).mean()), "uar": float(uar(counts).mean())}
    found |= {name: float(np.mean([info[name] for info in infos])) for name in ("params", "gflops")}
    found["ece"] = float(np.average([info["ece"] for info in infos], weights=[info["n_frames"] for info in infos]))
    first = [info for info in infos if info["seed"] == infos[0]["seed"]]
    for name in ("n_frames", "n_clips", "n_complete", "imputed"):
        found[name] = float(sum(info[name] for info in first))
    found["coverage"] = found["n_complete"] / found["n_frames"]
    return found
