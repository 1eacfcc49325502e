"""The folder of a run: heads, cells, failures and ``grid.json``; everything that reports and predictions need."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionkit.engine.features import FoldRows
from fusionkit.engine.score import Score
from fusionkit.errors import ConfigError, DataError
from fusionkit.storage.artifact import SCHEMA, check_artifact, read_artifact, unwritable, write_artifact, write_file
from fusionkit.storage.identity import digest
from fusionkit.storage.lease import waiting_lease

if TYPE_CHECKING:
    from fusionkit.engine.fit import Head
    from fusionkit.grid.plan import HeadWork, Plan, RowPlan

_LOGITS = ("dev_logits.npy", "test_logits.npy", "test_whole.npy", "head.json")
_COPY = "grid.copy.json"
_SMOOTHER = "smoother.safetensors"
_ANEW = "move it away and run the grids again: finished work is reused"


@dataclass(frozen=True, eq=False)
class StoredLogits:
    """What the later stages need of a head.

    Attributes:
        dev: (m, C) float32, NaN rows for frames without any view.
        test: (k, C) float32.
        test_whole: (k,) bool: the test frames that have every view.
        info: what else is known: parameters, history, kept epoch.
    """

    dev: np.ndarray
    test: np.ndarray
    test_whole: np.ndarray
    info: dict[str, Any]


@dataclass(frozen=True, eq=False)
class StoredCell:
    """A scored cell: its confusion counts per unit, its scalars, and what its smoother has learned."""

    units: np.ndarray
    counts: np.ndarray
    info: dict[str, Any]
    smoother: dict[str, np.ndarray] | None = None


class RunFolder:
    """The folder of a run.

    Args:
        path: the folder; made when it is first written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    # -- the grid --------------------------------------------------------------------------------------------------

    def load_grid(self) -> dict[str, Any] | None:
        """``grid.json``, or its copy where it is damaged; None in a new folder.

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

    def merge(self, plan: Plan, provenance: dict[str, Any]) -> None:
        """Add a plan to the folder, which then holds the union of all its grids.

        Raises:
            ConfigError: if the folder holds results of another protocol, or cannot be written.
        """
        self.check(plan)
        try:
            with waiting_lease(self.path / "leases" / "grid"):
                self._merge(plan, provenance)
        except OSError as error:
            raise ConfigError(str(unwritable(self.path, error))) from error
        except DataError as error:
            raise ConfigError(str(error)) from error

    def check(self, plan: Plan) -> dict[str, Any] | None:
        """What :meth:`load_grid` gives.

        Raises:
            ConfigError: if it is of another protocol than the plan.
        """
        grid = self.load_grid()
        if grid and grid["protocol"] != plan.protocol:
            said, wanted = ("; ".join(data) for data in (grid["data"], plan.data))
            instead = f"{said}, not {wanted}" if said != wanted else f"{said}, whose files or code have changed since"
            raise ConfigError(
                f"{self.path} holds results of other data or another split: {instead}", hint="choose another --out"
            )
        return grid

    def _merge(self, plan: Plan, provenance: dict[str, Any]) -> None:
        grid = self.check(plan) or {
            "schema": SCHEMA,
            "protocol": plan.protocol,
            "data": plan.data,
            "impute": plan.grid.impute,
            "grids": [],
            "rows": [],
        }
        description = {"name": plan.grid.name, **plan.grid.describe()}
        grid["grids"] = [item for item in grid["grids"] if item["description"] != description]
        grid["grids"].append({"description": description, "provenance": provenance})
        rows = {item["id"]: item for item in grid["rows"]}
        for row in plan.rows:
            _merge_row(rows, row)
        # A component has changed: the rows of the old one stand for nothing that can be run any more.
        current = {place(asdict(row.axes)): row.id for row in plan.rows}
        rows = {key: item for key, item in rows.items() if current.get(place(item["axes"]), key) == key}
        grid["rows"] = list(rows.values())
        grid["notes"] = plan.notes
        self.write_grid(grid)

    def write_grid(self, grid: dict[str, Any]) -> None:
        """Write ``grid.json`` with its seal; whoever changes it holds the lease ``grid``."""
        sealed = {**grid, "seal": digest(grid)}
        for name in ("grid.json", _COPY):  # of all that a folder holds, the one thing that no run could make again
            write_file(self.path / name, json.dumps(sealed, indent=1, ensure_ascii=False).encode())

    # -- rows ------------------------------------------------------------------------------------------------------

    def write_fold(self, name: str, rows: FoldRows) -> None:
        """Store the rows of a fold, once; test labels are not among them."""
        folder = self.path / "folds" / name
        if read_artifact(folder) is None:
            write_artifact(folder, {f"{item.name}.npy": _npy(getattr(rows, item.name)) for item in fields(rows)})

    def read_fold(self, name: str) -> FoldRows:
        """The rows of a fold.

        Raises:
            DataError: if they are missing or damaged.
        """
        files = self._read("folds", name)
        arrays = {file.removesuffix(".npy"): np.load(io.BytesIO(data)) for file, data in files.items()}
        return FoldRows(**arrays)

    # -- heads -----------------------------------------------------------------------------------------------------

    def has_head(self, head: str) -> bool:
        """Whether a head is stored whole and undamaged."""
        return check_artifact(self.path / "heads" / head)

    def write_head(self, work: str, head: Head, about: dict[str, Any], cost: dict[str, float]) -> None:
        """Store a trained head with its logits.

        Args:
            work: its id.
            head: what was trained.
            about: of what, and how: what is needed to build it again.
            cost: seconds, memory.
        """
        info = {
            **about,
            "params": head.params,
            "gflops": head.gflops,
            "history": head.history,
            "best_epoch": head.best_epoch,
        }
        files = {
            "head.safetensors": _safetensors(head.state),
            "dev_logits.npy": _npy(head.dev_logits),
            "test_logits.npy": _npy(head.test_logits),
            "test_whole.npy": _npy(head.test_whole),
            "head.json": json.dumps(info, indent=1).encode(),
            "cost.json": json.dumps(cost).encode(),
        }
        write_artifact(self.path / "heads" / work, files)
        self.forget_failure(work)

    def read_logits(self, head: str) -> StoredLogits:
        """The logits of a stored head.

        Raises:
            DataError: if they are missing or damaged.
        """
        files = self._read("heads", head, names=_LOGITS)
        return StoredLogits(
            dev=np.load(io.BytesIO(files["dev_logits.npy"]), allow_pickle=False),
            test=np.load(io.BytesIO(files["test_logits.npy"]), allow_pickle=False),
            test_whole=np.load(io.BytesIO(files["test_whole.npy"]), allow_pickle=False),
            info=json.loads(files["head.json"]),
        )

    def read_head(self, head: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What a stored head has learned, as named arrays, and what is known of it.

        Raises:
            DataError: if it is missing or damaged.
        """
        files = self._read("heads", head, names=("head.safetensors", "head.json"))
        return _arrays(files["head.safetensors"]), json.loads(files["head.json"])

    def head_cost(self, head: str) -> dict[str, float]:
        """What a head cost to train: seconds, peak memory; empty where the head is not there."""
        files = read_artifact(self.path / "heads" / head, names=("cost.json",))
        cost: dict[str, float] = json.loads(files["cost.json"]) if files else {}
        return cost

    # -- cells -----------------------------------------------------------------------------------------------------

    def read_cell(self, cell: str) -> StoredCell | None:
        """A scored cell, or None if it is not there or damaged."""
        files = read_artifact(self.path / "cells" / cell)
        if files is None:
            return None
        with np.load(io.BytesIO(files["counts.npz"]), allow_pickle=False) as arrays:
            learned = _arrays(files[_SMOOTHER]) if _SMOOTHER in files else None
            return StoredCell(arrays["units"], arrays["counts"], json.loads(files["cell.json"]), learned)

    def write_cell(
        self, cell: str, score: Score, info: dict[str, Any], smoother: dict[str, np.ndarray] | None = None
    ) -> None:
        """Store a scored cell, with what its smoother has learned."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, units=score.units, counts=score.counts.astype(np.uint32))
        files = {"counts.npz": buffer.getvalue(), "cell.json": json.dumps(info, indent=1).encode()}
        if smoother is not None:
            files[_SMOOTHER] = _safetensors(smoother)
        write_artifact(self.path / "cells" / cell, files)

    def forget_cell(self, cell: str) -> None:
        """What is stored of a cell no longer stands."""
        shutil.rmtree(self.path / "cells" / cell, ignore_errors=True)

    # -- what a plan looks at --------------------------------------------------------------------------------------

    def exists(self, kind: Literal["heads", "cells"], work: str) -> bool:
        """Return whether a head or a cell is stored, damaged or not."""
        return (self.path / kind / work).exists()

    def notes(self, kind: Literal["heads", "cells"]) -> Iterator[dict[str, Any]]:
        """What is noted with every head or cell, its costs with it, the one made last first.

        Only the small files are read, and their bytes are not checked: enough for words and estimates. What cannot be
        read is left out.
        """
        name = f"{kind[:-1]}.json"
        files = [file for file in (self.path / kind).glob(f"[!.]*/{name}") if file.is_file()]
        for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
            note = _json_of(file)
            if note:
                yield {**note, "id": file.parent.name, "cost": _json_of(file.with_name("cost.json"))}

    # -- failures --------------------------------------------------------------------------------------------------

    def failure(self, work: str) -> str | None:
        """Why a piece of work failed the last time; None if it did not, or the note of it is damaged."""
        try:
            note = json.loads((self.path / "failures" / f"{work}.json").read_text(encoding="utf-8"))
            message: str = note["message"]
            sound = note["seal"] == digest([message, self.failure_trace(work)])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return message if sound else None

    def failure_trace(self, work: str) -> str:
        """The traceback of a failure; empty where none was kept."""
        try:
            return (self.path / "failures" / f"{work}.txt").read_bytes().decode()  # line ends as they are
        except (OSError, ValueError):
            return ""

    def write_failure(self, work: str, message: str, trace: str) -> None:
        """Note a failure, with its traceback in a file of its own."""
        folder = self.path / "failures"
        write_file(folder / f"{work}.txt", trace.encode())
        note = {"schema": SCHEMA, "message": message, "seal": digest([message, trace])}
        write_file(folder / f"{work}.json", json.dumps(note).encode())

    def forget_failure(self, work: str) -> None:
        """The work has succeeded."""
        for ending in ("json", "txt"):
            (self.path / "failures" / f"{work}.{ending}").unlink(missing_ok=True)

    def _read(self, kind: str, name: str, names: tuple[str, ...] | None = None) -> dict[str, bytes]:
        files = read_artifact(self.path / kind / name, names)
        if files is None:
            raise DataError(f"{self.path / kind / name} is missing or damaged", hint="run again: it is made anew")
        return files


class _DamagedError(DataError):
    """A grid that is not as it was written."""


def _sealed_grid(file: Path) -> dict[str, Any]:
    try:
        grid: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        schema, seal = grid["schema"], grid.pop("seal", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamagedError(f"{file} is not a grid of fusionkit, or is damaged", hint=_ANEW) from error
    if isinstance(schema, int) and schema > SCHEMA:
        raise DataError(f"{file} was written by a later fusionkit (schema {schema}; this one reads {SCHEMA})")
    if seal != digest(grid):
        raise _DamagedError(f"{file} is damaged: it is not as it was written", hint=_ANEW)
    return grid


def _merge_row(rows: dict[str, dict[str, Any]], row: RowPlan) -> None:
    cells = {cell["id"]: cell for cell in rows.get(row.id, {}).get("cells", [])}
    for head in row.heads:
        cells[row.cell_id(head)] = _cell_record(row, head)
    ordered = sorted(cells.values(), key=lambda cell: (cell["seed"], cell["fold"]))
    rows[row.id] = {
        "id": row.id,
        "axes": asdict(row.axes),
        "reference": row.reference,
        "cells": ordered,
    }


def place(axes: dict[str, str]) -> str:
    """Where a row stands: of two rows there, a folder holds one."""
    return json.dumps(axes, sort_keys=True)


def _cell_record(row: RowPlan, head: HeadWork) -> dict[str, Any]:
    heads = {str(each.recipe): each.id for each in row.candidates(head)}
    return {"id": row.cell_id(head), "heads": heads, "seed": head.seed, "fold": head.fold_data.fold.name}


def heads_of(cell: dict[str, Any]) -> list[str]:
    """The heads that a cell's record names: one a recipe of its sweep."""
    return list(cell["heads"].values()) if "heads" in cell else [cell["head"]]  # before recipes were swept: one a cell


def failed_cells(folder: RunFolder, cells: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Cell id to message, for those of which the cell or a head failed."""
    found = {}
    for cell in cells:
        messages = (folder.failure(work) for work in (cell["id"], *heads_of(cell)))
        found[cell["id"]] = next((message for message in messages if message), "")
    return {cell: message for cell, message in found.items() if message}


def _json_of(file: Path) -> dict[str, Any]:
    """What a file holds; nothing where it cannot be read."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in arrays.items()}
    found: bytes = save(whole)
    return found


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    found: dict[str, np.ndarray] = load(data)
    return found


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
