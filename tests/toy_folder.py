"""Run folders written by hand: rows with given confusion counts, for the tests of reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np

from fusionkit.engine.score import Score
from fusionkit.grid.folder import GRID_SCHEMA, RunFolder
from fusionkit.report.run import Results
from fusionkit.storage.artifact import write_file
from fusionkit.storage.identity import digest

AXES = {
    "dataset": "toy",
    "split": "official",
    "extractor": "template",
    "backbone": "hog",
    "main": "face",
    "views": "face",
    "fusion": "linear",
    "recipe": "epochs=2",
    "smoother": "none",
}


@dataclass
class Toy:
    """A row: its axes where they differ from the usual, and counts (S, U, C, C); a seed that is None is not done."""

    axes: dict[str, str]
    counts: Sequence[np.ndarray | None]
    units: Sequence[str] = ()
    folds: Sequence[str] = ("official",)  # units are dealt to folds in turn
    classes: Sequence[str] = ()
    failure: str = ""
    id: str = ""
    seeds: Sequence[int] = field(default_factory=list)
    reference: str | None = None
    cost: float = 100.0  # parameters, and a tenth of it GFLOP
    random_weights: Sequence[str] = ()  # backbones of the row


def write_folder(path: Path, rows: Sequence[Toy]) -> Results:
    """The results of a folder that holds these rows."""
    folder = RunFolder(path)
    with mock.patch("os.fsync"):  # nothing here must outlast a power cut
        records = [_write_row(folder, toy) for toy in rows]
    grid = {
        "schema": GRID_SCHEMA,
        "protocol": "toy",
        "data": [],
        "grids": [],
        "rows": records,
        "notes": [],
        "impute": "nearest",
    }
    write_file(path / "grid.json", json.dumps({**grid, "seal": digest(grid)}).encode())
    return Results(folder)


def _write_row(folder: RunFolder, toy: Toy) -> dict[str, object]:
    axes = {**AXES, **toy.axes}
    name = toy.id or digest(axes)[:12]
    cells = []
    for seed, counts in zip(toy.seeds or range(len(toy.counts)), toy.counts, strict=True):
        for index, fold in enumerate(toy.folds):
            cell, head = (digest([name, seed, fold, kind])[:12] for kind in ("cell", "head"))
            cells.append({"id": cell, "heads": {axes["recipe"]: head}, "seed": seed, "fold": fold})
            if counts is None:
                if toy.failure:
                    folder.write_failure(cell, toy.failure, "")
                continue
            units = np.array(toy.units or [f"u{unit:03d}" for unit in range(len(counts))])
            classes = toy.classes or [f"class{c}" for c in range(counts.shape[-1])]
            share = slice(index, None, len(toy.folds))
            frames = int(counts[share].sum())
            diagnostics: dict[str, float] = {"ece": 0.1, "predicted_classes": counts.shape[-1]}
            info = {
                "head": head,
                "seed": seed,
                "fold": fold,
                "smoother": axes["smoother"],
                "recipe": axes["recipe"],
                "task": "expression",
                "member": 0,
                "scores": dict.fromkeys(classes, 0),
                "measures": {"accuracy": 0.5, "uar": 0.5},
                "diagnostics": diagnostics,
                "ceiling": None,
                "n_frames": frames,
                "n_clips": len(units[share]),
                "n_complete": frames - 1,
                "imputed": 0,
                "params": toy.cost,
                "gflops": toy.cost / 10,
                "steps": 300,
            }
            folder.write_cell(cell, Score(units[share], counts[share], diagnostics), info)
    return {"id": name, "axes": axes, "reference": toy.reference, "random_weights": toy.random_weights, "cells": cells}
