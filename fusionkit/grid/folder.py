"""Folder of a run: ``grid.json``, heads, cells and failures. Reports and predictions need nothing else."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionkit.engine.features import FoldRows
from fusionkit.engine.joint_task import Member, columns_of
from fusionkit.engine.score import Score
from fusionkit.errors import IN_TRACEBACK, ConfigError, DataError
from fusionkit.registry import did_you_mean_path
from fusionkit.storage.artifact import SCHEMA, check_artifact, read_artifact, unwritable, write_artifact, write_file
from fusionkit.storage.identity import digest, json_text
from fusionkit.storage.lease import waiting_lease
from fusionkit.storage.record import library_versions

if TYPE_CHECKING:
    from fusionkit.engine.fit import Head
    from fusionkit.grid.plan import HeadWork, Plan, RowPlan

GRID_SCHEMA = 2  # of grid.json with heads and cells; raised when a version cannot read what another has written
_LOGITS = ("dev_logits.npy", "test_logits.npy", "test_complete.npy", "head.json")
_COPY = "grid.copy.json"
_SMOOTHER = "smoother.safetensors"
_RECOVERY = "move it away and run the grids again: finished work is reused"


@dataclass(frozen=True, eq=False)
class StoredLogits:
    """Logits of a head, for smoothing and scoring.

    Attributes:
        dev: (m, C) float32; NaN rows for frames without any view.
        test: (k, C) float32; likewise.
        test_complete: (k,) bool: test frames that have every view.
        info: content of ``head.json``: parameters, history, kept epoch, record.
    """

    dev: np.ndarray
    test: np.ndarray
    test_complete: np.ndarray
    info: dict[str, Any]

    def of_task(self, member: int) -> StoredLogits:
        """Return the logits of one of the tasks that the head has learned."""
        columns = columns_of([Member.of(each) for each in self.info["tasks"]], member)
        return replace(self, dev=self.dev[:, columns], test=self.test[:, columns])


@dataclass(frozen=True, eq=False)
class StoredCell:
    """A scored cell.

    Attributes:
        units: (U,) str: tested units (subjects or videos).
        counts: (U, C, C) confusion counts per unit.
        info: content of ``cell.json``.
        smoother: state of a learned smoother, by name; None for others.
    """

    units: np.ndarray
    counts: np.ndarray
    info: dict[str, Any]
    smoother: dict[str, np.ndarray] | None = None


class RunFolder:
    """The folder of a run.

    Args:
        path: path of the folder; created at the first write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    # -- grid.json -------------------------------------------------------------------------------------------------

    def load_grid(self) -> dict[str, Any] | None:
        """Return the content of ``grid.json``, or of its copy if it is damaged; None in a new folder.

        Raises:
            DataError: if both are damaged, or were written by a later version.
        """
        file = self.path / "grid.json"
        if not file.exists():
            return None
        try:
            return _sealed_grid(file)
        except _DamagedError:
            with suppress(_DamagedError):
                return _sealed_grid(self.path / _COPY)
            raise

    def grid(self) -> dict[str, Any]:
        """Return :meth:`load_grid`.

        Raises:
            DataError: if the folder holds no grid, or as :meth:`load_grid`.
        """
        grid = self.load_grid()
        if grid is None:
            near = "" if self.path.exists() else did_you_mean_path(self.path)
            hint = "" if near else "a folder that fusionkit bench has written to"
            raise DataError(f"{self.path} holds no grid{near}", hint=hint)
        return grid

    def check(self, plan: Plan) -> dict[str, Any] | None:
        """Return :meth:`load_grid`, after checking that it has the protocol of the plan.

        Raises:
            ConfigError: if it has another protocol.
        """
        grid = self.load_grid()
        if grid and grid["protocol"] != plan.protocol:
            stored, wanted = ("; ".join(data) for data in (grid["data"], plan.data))
            reason = f"not {wanted}" if stored != wanted else "whose files or code have changed since"
            raise ConfigError(
                f"{self.path} holds results of other data or another split: {stored}, {reason}",
                hint="choose another --out",
            )
        return grid

    def add_plan(
        self, plan: Plan, provenance: dict[str, Any], failed_checks: Mapping[str, list[dict[str, Any]]] | None = None
    ) -> None:
        """Add a plan to ``grid.json``, which lists the rows of all grids in the folder.

        Args:
            plan: the plan.
            provenance: of this run.
            failed_checks: by id of the row, its components that fail checks, as of
                :func:`fusionkit.grid.first_checks.failed_checks`. Default: none.

        Raises:
            ConfigError: if the folder holds results of another protocol, or cannot be written.
        """
        self.check(plan)
        try:
            with waiting_lease(self.path / "leases" / "grid"):
                self._add_plan(plan, provenance, failed_checks or {})
        except OSError as error:
            raise ConfigError(str(unwritable(self.path, error))) from error
        except DataError as error:
            raise ConfigError(str(error)) from error

    def _add_plan(
        self, plan: Plan, provenance: dict[str, Any], failed_checks: Mapping[str, list[dict[str, Any]]]
    ) -> None:
        grid = self.check(plan) or {
            "schema": GRID_SCHEMA,
            "protocol": plan.protocol,
            "data": plan.data,
            "impute": plan.grid.impute,
            "grids": [],
            "rows": [],
        }
        description = {"name": plan.grid.name, **plan.grid.describe()}
        grid["grids"] = [item for item in grid["grids"] if item["description"] != description]
        grid["grids"].append({"description": description, "provenance": provenance})
        entries = {entry["id"]: entry for entry in grid["rows"]}
        for row in plan.rows:
            cells = entries.get(row.id, {}).get("cells", [])
            entries[row.id] = _row_entry(row, cells, failed_checks.get(row.id, []))
        # Rows of a component that has changed since cannot be run any more.
        current = {position_of(asdict(row.axes)): row.id for row in plan.rows}
        grid["rows"] = [entry for key, entry in entries.items() if current.get(position_of(entry["axes"]), key) == key]
        grid["notes"] = plan.notes
        self.write_grid(grid)

    def write_grid(self, grid: dict[str, Any]) -> None:
        """Write ``grid.json`` with its seal. The caller holds the lease ``grid``."""
        sealed = {**grid, "seal": digest(grid)}
        for name in ("grid.json", _COPY):  # of all that a folder holds, the one thing that no run could recompute
            write_file(self.path / name, json_text(sealed, indent=1).encode())

    # -- folds -----------------------------------------------------------------------------------------------------

    def write_fold(self, name: str, rows: FoldRows) -> None:
        """Store the frames of a fold, without test labels, unless they are stored."""
        folder = self.path / "folds" / name
        files = {f"{item.name}.npy": _npy(getattr(rows, item.name)) for item in fields(rows)}
        if (read_artifact(folder) or {}).keys() != files.keys():  # an earlier version stored fewer
            write_artifact(folder, files)

    def read_fold(self, name: str) -> FoldRows:
        """Return the frames of a fold.

        Raises:
            DataError: if they are missing or damaged.
        """
        files = self._read("folds", name)
        arrays = {file.removesuffix(".npy"): np.load(io.BytesIO(data)) for file, data in files.items()}
        return FoldRows(**arrays)

    # -- heads -----------------------------------------------------------------------------------------------------

    def has_head(self, head: str) -> bool:
        """Return whether a head is stored undamaged."""
        return check_artifact(self.path / "heads" / head)

    def write_head(self, name: str, head: Head, about: dict[str, Any], cost: dict[str, float]) -> None:
        """Store a trained head with its logits.

        Args:
            name: its id.
            head: the trained head.
            about: what is needed to build it again, with its record.
            cost: seconds and memory of training.
        """
        info = {
            **about,
            "params": head.params,
            "gflops": head.gflops,
            "history": head.history,
            "best_epoch": head.best_epoch,
            "steps": head.steps,
            "versions": library_versions(),
        }
        files = {
            "head.safetensors": _safetensors(head.state),
            "dev_logits.npy": _npy(head.dev_logits),
            "test_logits.npy": _npy(head.test_logits),
            "test_complete.npy": _npy(head.test_complete),
            "head.json": json.dumps(info, indent=1).encode(),
            "cost.json": json.dumps(cost).encode(),
        }
        write_artifact(self.path / "heads" / name, files)
        self.remove_failure(name)

    def read_logits(self, head: str) -> StoredLogits:
        """Return the logits of a stored head.

        Raises:
            DataError: if they are missing or damaged.
        """
        files = self._read("heads", head, names=_LOGITS)
        return StoredLogits(
            dev=np.load(io.BytesIO(files["dev_logits.npy"]), allow_pickle=False),
            test=np.load(io.BytesIO(files["test_logits.npy"]), allow_pickle=False),
            test_complete=np.load(io.BytesIO(files["test_complete.npy"]), allow_pickle=False),
            info=json.loads(files["head.json"]),
        )

    def read_head(self, head: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the learned arrays of a stored head by name, and the content of ``head.json``.

        Raises:
            DataError: if they are missing or damaged.
        """
        files = self._read("heads", head, names=("head.safetensors", "head.json"))
        return _arrays(files["head.safetensors"]), json.loads(files["head.json"])

    def head_cost(self, head: str) -> dict[str, float]:
        """Return seconds and peak memory of training a head; empty if the head is not stored."""
        files = read_artifact(self.path / "heads" / head, names=("cost.json",))
        cost: dict[str, float] = json.loads(files["cost.json"]) if files else {}
        return cost

    # -- cells -----------------------------------------------------------------------------------------------------

    def read_cell(self, cell: str) -> StoredCell | None:
        """Return a scored cell; None if it is missing or damaged."""
        files = read_artifact(self.path / "cells" / cell)
        if files is None:
            return None
        with np.load(io.BytesIO(files["counts.npz"]), allow_pickle=False) as arrays:
            state = _arrays(files[_SMOOTHER]) if _SMOOTHER in files else None
            return StoredCell(arrays["units"], arrays["counts"], json.loads(files["cell.json"]), state)

    def write_cell(
        self, cell: str, score: Score, info: dict[str, Any], smoother: dict[str, np.ndarray] | None = None
    ) -> None:
        """Store a scored cell, with the state of a learned smoother."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, units=score.units, counts=_compact(score.counts))
        about = {**info, "versions": library_versions()}
        files = {"counts.npz": buffer.getvalue(), "cell.json": json.dumps(about, indent=1).encode()}
        if smoother is not None:
            files[_SMOOTHER] = _safetensors(smoother)
        write_artifact(self.path / "cells" / cell, files)

    def remove_cell(self, cell: str) -> None:
        """Remove a cell that is no longer valid."""
        shutil.rmtree(self.path / "cells" / cell, ignore_errors=True)

    # -- heads and cells, as a plan's status needs them ------------------------------------------------------------

    def names(self) -> set[str]:
        """Return the names of all heads, cells, failures and leases; whatever has none of these is new."""
        folders = [self.path / kind for kind in ("heads", "cells", "failures", "leases")]
        return {entry.name.removesuffix(".json") for each in folders if each.is_dir() for entry in os.scandir(each)}

    def exists(self, kind: Literal["heads", "cells"], name: str) -> bool:
        """Return whether a head or a cell is stored, damaged or not."""
        return (self.path / kind / name).exists()

    def infos(self, kind: Literal["heads", "cells"]) -> Iterator[dict[str, Any]]:
        """Yield ``head.json`` or ``cell.json`` of every head or cell with its id and cost, the latest first.

        Checksums are not verified: the contents serve for reasons and estimates. Unreadable files are left out.
        """
        name = f"{kind[:-1]}.json"
        files = [file for file in (self.path / kind).glob(f"[!.]*/{name}") if file.is_file()]
        for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
            info = _readable_json(file)
            if info:
                yield {**info, "id": file.parent.name, "cost": _readable_json(file.with_name("cost.json"))}

    # -- failures --------------------------------------------------------------------------------------------------

    def failure(self, task: str) -> str | None:
        """Return the message of the last failure of a head or cell; None without one, or if its file is damaged."""
        try:
            note = json.loads((self.path / "failures" / f"{task}.json").read_text(encoding="utf-8"))
            message: str = note["message"]
            intact = note["seal"] == digest([message, self.failure_trace(task)])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return message if intact else None

    def failure_trace(self, task: str) -> str:
        """Return the traceback of a failure; empty if none is stored."""
        try:
            return (self.path / "failures" / f"{task}.txt").read_bytes().decode()  # without changing line ends
        except (OSError, ValueError):
            return ""

    def write_failure(self, task: str, message: str, trace: str) -> str:
        """Store a failure, with its traceback in a file of its own, and return its message, which names that file."""
        folder = self.path / "failures"
        message = message.replace(IN_TRACEBACK, f"more characters in failures/{task}.txt")
        write_file(folder / f"{task}.txt", trace.encode())
        note = {"schema": SCHEMA, "message": message, "seal": digest([message, trace])}
        write_file(folder / f"{task}.json", json.dumps(note).encode())
        return message

    def remove_failure(self, task: str) -> None:
        """Remove the failure of a head or cell that has succeeded."""
        for ending in ("json", "txt"):
            (self.path / "failures" / f"{task}.{ending}").unlink(missing_ok=True)

    def _read(self, kind: str, name: str, names: tuple[str, ...] | None = None) -> dict[str, bytes]:
        files = read_artifact(self.path / kind / name, names)
        if files is None:
            raise DataError(f"{self.path / kind / name} is missing or damaged", hint="run again to recompute it")
        return files


class _DamagedError(DataError):
    """``grid.json`` is damaged."""


def _sealed_grid(file: Path) -> dict[str, Any]:
    try:
        grid: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        schema, seal = grid["schema"], grid.pop("seal", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamagedError(f"{file} is not a grid of fusionkit, or is damaged", hint=_RECOVERY) from error
    if isinstance(schema, int) and schema != GRID_SCHEMA:
        other = "a later" if schema > GRID_SCHEMA else "an earlier"
        raise DataError(
            f"{file} was written by {other} fusionkit (schema {schema}; this one reads {GRID_SCHEMA})",
            hint="run its grids into another folder",
        )
    if seal != digest(grid):
        raise _DamagedError(f"{file} is damaged: its checksum differs", hint=_RECOVERY)
    return grid


def _row_entry(row: RowPlan, cells: Iterable[dict[str, Any]], failed_checks: list[dict[str, Any]]) -> dict[str, Any]:
    """Entry of a row in ``grid.json``, with the cells of earlier grids."""
    by_id = {cell["id"]: cell for cell in cells}
    by_id |= {cell["id"]: cell for cell in (_cell_entry(row, heads) for heads in row.groups.values())}
    return {
        "id": row.id,
        "axes": asdict(row.axes),
        "reference": row.reference,
        "random_weights": row.random_backbones,
        "failed_checks": failed_checks,
        "cells": sorted(by_id.values(), key=lambda cell: (cell["seed"], cell["fold"])),
    }


def _cell_entry(row: RowPlan, heads: list[HeadWork]) -> dict[str, Any]:
    """Entry of a cell, by its heads, one per candidate."""
    by_candidate = {each.candidate: each.id for each in heads}
    seed, fold = heads[0].seed, heads[0].fold_data.fold.name
    return {"id": row.cell_id(heads[0]), "heads": by_candidate, "seed": seed, "fold": fold}


def position_of(axes: dict[str, str]) -> str:
    """Return the position of a row in the grid as text; a folder holds one row per position."""
    return json.dumps(axes, sort_keys=True)


def failed_cells(folder: RunFolder, cells: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return message by cell id of the cells that failed, or of which a head failed."""
    found = {}
    for cell in cells:
        messages = (folder.failure(task) for task in (cell["id"], *cell["heads"].values()))
        found[cell["id"]] = next((message for message in messages if message), "")
    return {cell: message for cell, message in found.items() if message}


def _readable_json(file: Path) -> dict[str, Any]:
    """Content of a file; empty if it cannot be read."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _compact(counts: np.ndarray) -> np.ndarray:
    """Return counts as stored: whole numbers in 32 bits, sums of values in 64."""
    return counts.astype(np.uint32 if counts.dtype.kind in "iu" else np.float64)


def _safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in arrays.items()}
    found: bytes = save(contiguous)
    return found


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    found: dict[str, np.ndarray] = load(data)
    return found


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
