"""Results of a run folder: one row per configuration, with scores, intervals, differences and costs."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.contracts.task import Task
from fusionkit.engine.score import Score
from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.axes import RANDOM_MARK, Axes
from fusionkit.grid.contrasts import Contrasts, StoredRow, Test
from fusionkit.grid.folder import RunFolder, StoredCell, failed_cells
from fusionkit.registry.options import requirement
from fusionkit.stats.crossed import Estimate
from fusionkit.stats.intervals import holm


@dataclass(frozen=True, eq=False)
class Row:
    """One row of ``results.csv``.

    Attributes:
        score: metric with its 95 % interval; None if no seed is complete.
        task: the prediction task.
        parts: score of each part of the task, such as the F1 of each class, with its 95 % interval, by name.
        predicted: share of the test frames that is predicted as each part, mean over seeds, by name.
        sd: standard deviation of the metric over seeds; NaN for one seed.
        sd_moderated: the same, moved towards that of the other rows on the same data; intervals and tests use it.
        delta: difference from the reference row, with interval and p; None for the reference, or without common seeds.
        p_holm: p of ``delta``, Holm-corrected over the rows of the table; NaN without one.
        chosen: smoother with the options chosen on dev.
        chosen_fusion: fusion with the options chosen on dev; the whole sweep if no cell is finished.
        chosen_recipe: recipe chosen on dev; the whole sweep if no cell is finished.
        means: means over cells of scalars without interval.
        failures: message by cell id.
        seeds: complete seeds.
        left_out: other seeds of the row, of which a cell failed or was not run.
        random_backbones: backbones of the row that have random weights.
    """

    id: str
    axes: Axes
    is_reference: bool
    score: Estimate | None
    task: Task
    parts: dict[str, Estimate]
    predicted: dict[str, float]
    sd: float
    sd_moderated: float
    delta: Estimate | None
    p_holm: float
    chosen: str
    chosen_fusion: str
    chosen_recipe: str
    means: dict[str, float]
    failures: dict[str, str]
    seeds: list[int]
    left_out: list[int]
    random_backbones: list[str]

    @property
    def name(self) -> str:
        """``views/fusion/smoother``, with a mark of random weights."""
        return f"{self.axes.name}{RANDOM_MARK}" if self.random_backbones else self.axes.name


class RunResults:
    """Results of a run folder.

    Args:
        folder: a path or an opened folder.
        test: ``crossed`` (default): intervals and p over units and seeds. ``bootstrap``: the same from the percentile
            bootstrap, which most papers report; with few units its coverage is below 95 %. ``permutation``: of these
            trained models, over units alone; p swaps the predictions of units.

    Raises:
        ConfigError: if there is no such test.
        DataError: if the folder has no grid.
    """

    def __init__(self, folder: RunFolder | Path | str, test: Test = "crossed") -> None:
        if required := requirement(test, Test):
            raise ConfigError(f"test = {test!r} must be {required}")
        self.test = test
        self.folder = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))
        self.grid = self.folder.grid()
        self._cells: dict[str, StoredCell | None] = {}

    @cached_property
    def stored(self) -> dict[str, StoredRow]:
        """Stored data of every row by id, in plan order."""
        return {entry["id"]: self.load(entry) for entry in self.grid["rows"]}

    @property
    def scored(self) -> list[StoredRow]:
        """Rows with a finished seed, in plan order."""
        return [row for row in self.stored.values() if row.counts]

    @cached_property
    def metric(self) -> str:
        """Name of the metric of the rows; ``score`` if tasks with several metrics are among them."""
        names = list(dict.fromkeys(row.task.metric_name for row in self.stored.values()))
        return names[0] if len(names) == 1 else "score"

    @cached_property
    def contrasts(self) -> Contrasts:
        """Estimates of scores and differences of the rows."""
        return Contrasts(self.scored, self.test)

    @cached_property
    def rows(self) -> list[Row]:
        """Rows in plan order."""
        references = {each.entry["reference"] for each in self.stored.values()}
        rows = [self._row(each, references) for each in self.stored.values()]
        corrected = holm(np.array([row["delta"].p if row["delta"] else float("nan") for row in rows]))
        return [Row(**row, p_holm=float(p)) for row, p in zip(rows, corrected, strict=True)]

    def by_task(self) -> dict[str, RunResults]:
        """Return the results of each task, whose rows can be compared; estimates are those over all rows."""
        tasks = list(dict.fromkeys(row.axes.task for row in self.rows))
        return {task: self if len(tasks) == 1 else self._of_task(task) for task in tasks}

    def _of_task(self, task: str) -> RunResults:
        found = copy(self)
        found.stored = {key: row for key, row in self.stored.items() if row.axes.task == task}
        found.rows = [row for row in self.rows if row.axes.task == task]
        found.metric = found.rows[0].task.metric_name
        return found

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
                row = {"row": entry["id"], "axes": entry["axes"], "random_weights": entry["random_weights"]}
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

    def _row(self, own: StoredRow, references: set[str | None]) -> dict[str, Any]:
        infos = [cell.info for (seed, _), cell in own.cells.items() if seed in own.counts]
        chosen = {**own.entry["axes"], **(infos[0] if infos else {})}  # the request, if no seed is complete
        counts = np.stack([own.counts[seed] for seed in own.seeds]).sum(1) if own.counts else None
        sd, sd_moderated = self.contrasts.seed_sd(own)
        return {
            "id": own.id,
            "axes": own.axes,
            "is_reference": own.id in references,
            "score": self.contrasts.score(own) if own.counts else None,
            "task": own.task,
            "parts": self._parts(own),
            "predicted": {} if counts is None else _predicted(own.task, counts),
            "sd": sd,
            "sd_moderated": sd_moderated,
            "delta": self._delta(own),
            "chosen": chosen["smoother"],
            "chosen_fusion": chosen["fusion"],
            "chosen_recipe": chosen["recipe"],
            "means": {} if counts is None else _means(own.task, infos, counts),
            "failures": own.failures,
            "seeds": own.seeds,
            "left_out": sorted({cell["seed"] for cell in own.entry["cells"]} - own.counts.keys()),
            "random_backbones": own.entry["random_weights"],
        }

    def _parts(self, own: StoredRow) -> dict[str, Estimate]:
        names = own.task.names if own.counts else ()
        return {name: self.contrasts.score(own, index) for index, name in enumerate(names, 1)}

    def _delta(self, own: StoredRow) -> Estimate | None:
        reference = self.stored.get(own.entry["reference"])
        if reference is None or not own.counts.keys() & reference.counts.keys():
            return None
        if not own.is_paired_with(reference):
            raise DataError(f"rows {own.id} and {reference.id} were tested on different units")
        return self.contrasts.difference([own], [reference])


def _predicted(task: Task, counts: np.ndarray) -> dict[str, float]:
    """Return the predicted share of each part, from counts (S, *shape); empty if the task has none."""
    share = task.predicted(counts.sum(0))
    return {} if share is None else dict(zip(task.names, share.tolist(), strict=True))


def pooled(cells: Sequence[StoredCell | Score]) -> tuple[np.ndarray, np.ndarray]:
    """Return counts (U, *shape) summed over folds, and the units (U,).

    Usually each unit is tested in one fold.
    """
    names = np.concatenate([cell.units for cell in cells])
    units, codes = np.unique(names, return_inverse=True)
    each = np.concatenate([cell.counts for cell in cells])
    counts = np.zeros((len(units), *each.shape[1:]), np.float64 if each.dtype.kind == "f" else np.int64)
    np.add.at(counts, codes, each.astype(counts.dtype))
    return counts, units


def _means(task: Task, infos: list[dict[str, Any]], counts: np.ndarray) -> dict[str, float]:
    """Means over seeds, with folds pooled. Numbers of frames and clips are the same for every seed.

    Args:
        task: the prediction task.
        infos: of the cells of complete seeds.
        counts: (S, *shape) of the same seeds.
    """
    found = {name: float(values.mean()) for name, values in task.measures(counts).items()}
    found |= {name: float(np.mean([info[name] for info in infos])) for name in ("steps", "params", "gflops")}
    frames = [info["n_frames"] for info in infos]
    for name in infos[0]["diagnostics"]:
        found[name] = float(np.average([info["diagnostics"][name] for info in infos], weights=frames))
    first = [info for info in infos if info["seed"] == infos[0]["seed"]]
    for name in ("n_frames", "n_clips", "n_complete", "imputed"):
        found[name] = float(sum(info[name] for info in first))
    found["coverage"] = found["n_complete"] / found["n_frames"]
    return found
