"""Rows of results, one a family, from the cells of a run folder: scores, intervals, differences, costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.errors import DataError
from fusionkit.grid.folder import RunFolder, StoredCell, failed_cells
from fusionkit.grid.plan import Axes
from fusionkit.stats import Estimate, holm, interval, paired_difference, permutation_p


@dataclass(frozen=True, eq=False)
class Row:
    """One family.

    Attributes:
        score: macro-F1 with its 95 % interval; None where no seed is complete.
        sd: standard deviation of macro-F1 over seeds; NaN for one seed.
        delta: difference to the reference row, with its interval; None for the reference or where seeds do not match.
        p: two-sided, of the unit-swap permutation test; NaN where there is no delta.
        p_holm: p, Holm-corrected over the rows of the table.
        chosen: the smoother as it was settled on dev.
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
    means: dict[str, float]
    failures: dict[str, str]
    seeds: list[int]


@dataclass(frozen=True, eq=False)
class _Loaded:
    record: dict[str, Any]
    cells: dict[tuple[int, str], StoredCell]
    counts: dict[int, np.ndarray]  # (U, C, C) by seed, over all folds
    units: np.ndarray
    failures: dict[str, str] = field(default_factory=dict)


class Results:
    """The results in a run folder.

    Args:
        folder: a path, or an opened folder.

    Raises:
        DataError: if there is no grid in it.
    """

    def __init__(self, folder: RunFolder | Path | str) -> None:
        self.folder = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))
        grid = self.folder.load_grid()
        if grid is None:
            raise DataError(f"{self.folder.path} holds no grid", hint="a folder that fusionkit bench has written to")
        self.grid: dict[str, Any] = grid

    @cached_property
    def rows(self) -> list[Row]:
        """A row a family, in plan order."""
        loaded = {record["id"]: self._load(record) for record in self.grid["families"]}
        references = {each.record["reference"] for each in loaded.values()}
        rows = [self._row(each, loaded.get(each.record["reference"]), references) for each in loaded.values()]
        corrected = holm(np.array([row["p"] for row in rows]))
        return [Row(**row, p_holm=float(p)) for row, p in zip(rows, corrected, strict=True)]

    def cells(self) -> list[dict[str, Any]]:
        """A record a cell, in plan order: axes, seed, fold, state, scalars."""
        found = []
        for record in self.grid["families"]:
            failures = failed_cells(self.folder, record["cells"])
            for cell in record["cells"]:
                stored = self.folder.read_cell(cell["id"])
                state = "done" if stored else ("failed" if cell["id"] in failures else "planned")
                info = stored.info if stored else {}
                found.append(
                    {**cell, "axes": record["axes"], "state": state, "error": failures.get(cell["id"], ""), **info}
                )
        return found

    def _load(self, record: dict[str, Any]) -> _Loaded:
        cells = {(cell["seed"], cell["fold"]): self.folder.read_cell(cell["id"]) for cell in record["cells"]}
        done = {key: cell for key, cell in cells.items() if cell is not None}
        counts: dict[int, np.ndarray] = {}
        units = np.array([], dtype=np.str_)
        for seed in sorted({seed for seed, _ in cells}):
            folds = sorted(fold for other, fold in cells if other == seed)
            parts = [done.get((seed, fold)) for fold in folds]
            whole = [part for part in parts if part is not None]
            if len(whole) == len(parts):
                counts[seed], units = _pooled(whole)
        failures = failed_cells(self.folder, record["cells"])
        return _Loaded(record, done, counts, units, failures)

    def _row(self, own: _Loaded, reference: _Loaded | None, references: set[str | None]) -> dict[str, Any]:
        seeds = sorted(own.counts)
        counts = np.stack([own.counts[seed] for seed in seeds]) if seeds else None
        delta, p = _compared(own, reference) if reference else (None, float("nan"))
        infos = [cell.info for cell in own.cells.values()]
        per_seed = [float(np.mean([info["macro_f1"] for info in infos if info["seed"] == seed])) for seed in seeds]
        return {
            "id": own.record["id"],
            "axes": Axes(**own.record["axes"]),
            "is_reference": own.record["id"] in references,
            "score": interval(counts) if counts is not None else None,
            "sd": float(np.std(per_seed, ddof=1)) if len(seeds) > 1 else float("nan"),
            "delta": delta,
            "p": p,
            "chosen": infos[0]["smoother"] if infos else own.record["axes"]["smoother"],
            "means": _means(infos),
            "failures": own.failures,
            "seeds": seeds,
        }


def _pooled(cells: Sequence[StoredCell]) -> tuple[np.ndarray, np.ndarray]:
    """Counts of all folds together; each unit is tested in one fold, or its counts are added up."""
    names = np.concatenate([cell.units for cell in cells])
    units, codes = np.unique(names, return_inverse=True)
    classes = cells[0].counts.shape[-1]
    counts = np.zeros((len(units), classes, classes), dtype=np.int64)
    np.add.at(counts, codes, np.concatenate([cell.counts for cell in cells]).astype(np.int64))
    return counts, units


def _compared(own: _Loaded, reference: _Loaded) -> tuple[Estimate | None, float]:
    seeds = sorted(own.counts.keys() & reference.counts.keys())
    if not seeds:
        return None, float("nan")
    if not np.array_equal(own.units, reference.units):
        raise DataError(f"rows {own.record['id']} and {reference.record['id']} were tested on different units")
    a = np.stack([own.counts[seed] for seed in seeds])
    b = np.stack([reference.counts[seed] for seed in seeds])
    return paired_difference(a, b), permutation_p(a, b)


def _means(infos: list[dict[str, Any]]) -> dict[str, float]:
    """Mean over cells; counts of frames and clips are summed over folds and are the same for every seed."""
    if not infos:
        return {}
    found = {name: float(np.mean([info[name] for info in infos])) for name in ("accuracy", "uar", "params", "gflops")}
    found["ece"] = float(np.mean([info["ece"] for info in infos]))
    first = [info for info in infos if info["seed"] == infos[0]["seed"]]
    for name in ("n_frames", "n_clips", "covered"):
        found[name] = float(sum(info[name] for info in first))
    found["coverage"] = found["covered"] / found["n_frames"] if found["n_frames"] else float("nan")
    return found
