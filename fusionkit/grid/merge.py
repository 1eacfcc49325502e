"""Merge: a run folder becomes the union of itself and others of the same protocol, as of grids that ran in parts.

Nothing is trained or scored here: test labels lie sealed in the data, which a merge does not need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fusionkit.errors import ConfigError, DataError
from fusionkit.grid.axes import Axes
from fusionkit.grid.folder import RunFolder, StoredCell, failed_cells, heads_of, place
from fusionkit.grid.row import StoredHeads
from fusionkit.storage.artifact import check_artifact, read_artifact, read_meta, write_artifact
from fusionkit.storage.lease import waiting_lease

_Record = dict[str, Any]  # of a grid, a row or a cell, as ``grid.json`` holds it


@dataclass
class Merged:
    """What a merge did.

    Attributes:
        heads: ids of those that were copied.
        cells: ids of those that were copied and stand.
        damaged: what could not be copied, since it is not as it was written.
        left_out: rows of the others that stand in the folder already, but were made by other code or on another kind
            of device: as in a run, one of them can be kept.
        unscored: rows of the folder with heads that are not scored, as after new seeds under a choice made on dev.
    """

    heads: set[str] = field(default_factory=set)
    cells: set[str] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unscored: list[str] = field(default_factory=list)


def merge_folders(folder: RunFolder, others: Sequence[RunFolder]) -> Merged:
    """Take others into a folder, which may be new; they stay as they are.

    Where both hold the same piece of work, the folder's own is kept. Killed at any moment, it can be repeated.

    Raises:
        ConfigError: if one of them is of another protocol; nothing is changed then.
        DataError: if one of them holds no grid, or a damaged one; nothing is changed then.
        StorageError: if the folder cannot be written.
    """
    others = [other for other in others if other.path.resolve() != folder.path.resolve()]
    _refuse_other_protocols(folder, others)
    merged = Merged()
    with waiting_lease(folder.path / "leases" / "grid"):
        for other in others:
            _Taking(folder, other, merged).take()
        merged.unscored = list(_unscored(folder))
    return merged


def _refuse_other_protocols(folder: RunFolder, others: Sequence[RunFolder]) -> None:
    own = folder.load_grid()
    grids = [(each.path, _grid_in(each)) for each in (others if others and own is None else [folder, *others])]
    path, first = grids[0]
    for other, grid in grids:
        if grid["protocol"] != first["protocol"]:
            raise ConfigError(
                f"{other} holds results of other data or another split than {path}: {'; '.join(grid['data'])}, "
                f"not {'; '.join(first['data'])}",
                hint="only runs on the same data and split can be merged",
            )


def _grid_in(folder: RunFolder) -> _Record:
    grid = folder.load_grid()
    if grid is None:
        raise DataError(f"{folder.path} holds no grid", hint="a folder that fusionkit bench has written to")
    return grid


class _Taking:
    """One other folder taken into a folder.

    ``grid.json`` is written when all that it names is there, and what no longer stands is gone before: whenever this
    is killed, the folder shows no score that was chosen over other heads than its own.
    """

    def __init__(self, folder: RunFolder, other: RunFolder, merged: Merged) -> None:
        self.folder = folder
        self.other = other
        self.merged = merged
        self.heads = StoredHeads(folder)
        self.unlike: set[str] = set()  # heads that both hold, with other logits: of another kind of machine

    def take(self) -> None:
        theirs = _grid_in(self.other)
        own = self.folder.load_grid() or {**theirs, "grids": [], "rows": [], "notes": []}
        records = self._admitted(own["rows"], theirs["rows"])
        for name in _names(self.other, "folds"):
            self._copy("folds", name)
        for head in dict.fromkeys(head for record in records for cell in record["cells"] for head in heads_of(cell)):
            self._take_head(head)
        united = _united(own, theirs, records)
        taken = {record["id"]: record for record in records}
        for record in united["rows"]:
            if record["id"] in taken:
                self._take_cells(record, {cell["id"] for cell in taken[record["id"]]["cells"]})
        self.folder.write_grid(united)
        for record in records:
            self._take_failures(record)

    def _admitted(self, own: list[_Record], theirs: list[_Record]) -> list[_Record]:
        """Their rows, without those whose place the folder has given to a row of another identity."""
        held = {place(record["axes"]): record["id"] for record in own}
        admitted = []
        for record in theirs:
            if held.get(place(record["axes"]), record["id"]) == record["id"]:
                admitted.append(record)
            else:
                self.merged.left_out.append(f"{self.other.path}: {Axes(**record['axes']).name}")
        return admitted

    def _copy(self, kind: str, name: str) -> bool:
        """Copy what the folder lacks, or holds damaged; whether there was something to copy."""
        source, target = (each.path / kind / name for each in (self.other, self.folder))
        if not source.exists() or check_artifact(target):
            return False
        files = read_artifact(source)
        if files is None:
            self.merged.damaged.append(str(source))
            return False
        write_artifact(target, files, read_meta(source))
        return True

    def _take_head(self, head: str) -> None:
        if self._copy("heads", head):
            self.merged.heads.add(head)
        elif _logits(self.folder, head) != _logits(self.other, head):
            self.unlike.add(head)

    def _take_cells(self, record: _Record, theirs: set[str]) -> None:
        """The cells of a row of the union: those that stand are kept or copied, of the others no score is left."""
        there = sorted({head for cell in record["cells"] for head in heads_of(cell) if self.heads.has(head)})
        for cell in record["cells"]:
            own = self.folder.read_cell(cell["id"])
            if own and _stands(own, there):
                continue
            if own:
                self.folder.forget_cell(cell["id"])
                self.merged.cells.discard(cell["id"])
            if cell["id"] in theirs and self._fits(cell, there) and self._copy("cells", cell["id"]):
                self.merged.cells.add(cell["id"])

    def _fits(self, cell: _Record, there: list[str]) -> bool:
        """Whether their score of a cell stands in the union, and was made of the very heads that the folder holds."""
        stored = self.other.read_cell(cell["id"])
        if stored is None:
            if (self.other.path / "cells" / cell["id"]).exists():
                self.merged.damaged.append(str(self.other.path / "cells" / cell["id"]))
            return False
        rests_on = stored.info.get("chosen_over") or heads_of(cell)
        return _stands(stored, there) and not self.unlike.intersection(rests_on)

    def _take_failures(self, record: _Record) -> None:
        """Failures of what is done in neither; those of what is done now are forgotten."""
        for cell in record["cells"]:
            done = {head: self.heads.has(head) for head in heads_of(cell)}
            done[cell["id"]] = self.folder.read_cell(cell["id"]) is not None
            for work, finished in done.items():
                if finished:
                    self.folder.forget_failure(work)
                elif self.folder.failure(work) is None:
                    self._take_failure(work)

    def _take_failure(self, work: str) -> None:
        message = self.other.failure(work)
        if message is not None:
            self.folder.write_failure(work, message, self.other.failure_trace(work))


def _logits(folder: RunFolder, head: str) -> dict[str, bytes] | None:
    """What the scores of a head rest on."""
    return read_artifact(folder.path / "heads" / head, names=("dev_logits.npy", "test_logits.npy"))


def _names(folder: RunFolder, kind: str) -> list[str]:
    """What lies in a part of a folder; names with a dot in front are still being written."""
    return sorted(path.name for path in (folder.path / kind).glob("[!.]*"))


def _stands(cell: StoredCell, there: list[str]) -> bool:
    """Whether a score stands: nothing was chosen, or it was chosen over the very heads that are there."""
    return cell.info.get("chosen_over", []) in ([], there)


def _united(own: _Record, theirs: _Record, records: list[_Record]) -> _Record:
    """The union of two grids: the own descriptions, rows and notes first; of theirs, the given rows."""
    described = [item["description"] for item in own["grids"]]
    rows = {record["id"]: record for record in own["rows"]}
    for record in records:
        known = rows.get(record["id"], {**record, "cells": []})
        cells = {cell["id"]: cell for cell in [*record["cells"], *known["cells"]]}
        ordered = sorted(cells.values(), key=lambda cell: (cell["seed"], cell["fold"]))
        rows[record["id"]] = {**known, "cells": ordered}
    return {
        **theirs,
        **own,
        "grids": [*own["grids"], *(item for item in theirs["grids"] if item["description"] not in described)],
        "rows": list(rows.values()),
        "notes": list(dict.fromkeys([*own["notes"], *theirs["notes"]])),
    }


def _unscored(folder: RunFolder) -> Iterator[str]:
    """The rows with a cell that has a head and is neither scored nor failed."""
    for record in _grid_in(folder)["rows"]:
        failed = failed_cells(folder, record["cells"])
        waiting = [cell for cell in record["cells"] if cell["id"] not in failed and not folder.read_cell(cell["id"])]
        if any(folder.has_head(head) for cell in waiting for head in heads_of(cell)):
            yield Axes(**record["axes"]).name
