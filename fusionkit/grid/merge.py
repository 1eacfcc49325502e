"""Merge run folders of one protocol, such as those of a grid that ran in parts.

Nothing is trained or scored here: test labels stay sealed in the data, which a merge does not need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusionkit.errors import ConfigError, first_of
from fusionkit.grid.axes import Axes
from fusionkit.grid.folder import RunFolder, StoredCell, failed_cells, position_of
from fusionkit.grid.row import StoredHeads
from fusionkit.storage.artifact import check_artifact, read_artifact, read_meta, write_artifact
from fusionkit.storage.lease import waiting_lease

_Entry = dict[str, Any]  # a grid, row or cell as in ``grid.json``


@dataclass
class Merged:
    """Outcome of a merge.

    Attributes:
        heads: ids of the copied heads.
        cells: ids of the copied cells.
        damaged: what was not copied because its checksum differs.
        left_out: rows of the other folders that were not copied, because the folder has a row at the same position of
            the grid that other code or another kind of device has made.
        unscored: rows of the folder with trained heads but without scores: new seeds change a choice made on dev.
        notes: further information for the user.
    """

    heads: set[str] = field(default_factory=set)
    cells: set[str] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unscored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def warnings(self, folder: Path) -> list[str]:
        """Return what is not in the folder that received the union, one line each."""
        found = list(self.notes)
        if self.damaged:
            found.append(f"{len(self.damaged)} damaged and not copied: {first_of(self.damaged)}")
        if self.left_out:
            found.append(
                f"{len(self.left_out)} rows not copied, because {folder} holds them from other code or another kind of "
                f"device; merge in the other direction to keep the others: {first_of(self.left_out)}"
            )
        if self.unscored:
            found.append(
                f"{len(self.unscored)} rows must be scored again; run the grid once in {folder} "
                f"(fusionkit bench ... --out {folder}): {first_of(self.unscored)}"
            )
        return found


def merge_folders(folder: RunFolder, others: Sequence[RunFolder]) -> Merged:
    """Merge other folders into a folder, which may be new. The others are not changed.

    If both have the same head or cell, the folder's own is kept. A killed merge can be repeated.

    Raises:
        ConfigError: if the protocols differ; nothing is changed then.
        DataError: if a folder has no grid, or a damaged one; nothing is changed then.
        StorageError: if the folder cannot be written.
    """
    others = [other for other in others if other.path.resolve() != folder.path.resolve()]
    _check_protocols(folder, others)
    merged = Merged()
    with waiting_lease(folder.path / "leases" / "grid"):
        for other in others:
            _Merger(folder, other, merged).run()
        merged.unscored = list(_unscored(folder))
    return merged


def _check_protocols(folder: RunFolder, others: Sequence[RunFolder]) -> None:
    own = folder.load_grid()
    grids = [(each.path, each.grid()) for each in (others if others and own is None else [folder, *others])]
    path, first = grids[0]
    for other, grid in grids:
        if grid["protocol"] != first["protocol"]:
            raise ConfigError(
                f"{other} holds results of other data or another split than {path}: {'; '.join(grid['data'])}, "
                f"not {'; '.join(first['data'])}",
                hint="only runs on the same data and split can be merged",
            )


class _Merger:
    """Merges one other folder into a folder.

    ``grid.json`` is written after everything that it lists, and invalid cells are removed before: a killed merge leaves
    no score that was chosen from other heads than those of the folder.
    """

    def __init__(self, folder: RunFolder, other: RunFolder, merged: Merged) -> None:
        self.folder = folder
        self.other = other
        self.merged = merged
        self.heads = StoredHeads(folder)
        self.unlike: set[str] = set()  # heads in both folders with different logits: from another kind of machine

    def run(self) -> None:
        theirs = self.other.grid()
        own = self.folder.load_grid() or {**theirs, "grids": [], "rows": [], "notes": []}
        entries = self._admitted(own["rows"], theirs["rows"])
        for path in sorted((self.other.path / "folds").glob("[!.]*")):  # a leading dot: still being written
            self._copy("folds", path.name)
        for head in dict.fromkeys(head for entry in entries for cell in entry["cells"] for head in _heads_of(cell)):
            self._copy_head(head)
        union = _union(own, theirs, entries)
        taken = {entry["id"]: entry for entry in entries}
        for entry in union["rows"]:
            if entry["id"] in taken:
                self._copy_cells(entry, {cell["id"] for cell in taken[entry["id"]]["cells"]})
        self.folder.write_grid(union)
        for entry in entries:
            self._copy_failures(entry)

    def _admitted(self, own: list[_Entry], theirs: list[_Entry]) -> list[_Entry]:
        """Their rows, without those for whose position in the grid the folder has a row with another id."""
        ids = {position_of(entry["axes"]): entry["id"] for entry in own}
        admitted = []
        for entry in theirs:
            if ids.get(position_of(entry["axes"]), entry["id"]) == entry["id"]:
                admitted.append(entry)
            else:
                self.merged.left_out.append(f"{self.other.path}: {Axes(**entry['axes']).name}")
        return admitted

    def _copy(self, kind: str, name: str) -> bool:
        """Copy what is missing or damaged in the folder. Returns whether it was copied."""
        source, target = (each.path / kind / name for each in (self.other, self.folder))
        if not source.exists() or check_artifact(target):
            return False
        files = read_artifact(source)
        if files is None:
            self.merged.damaged.append(str(source))
            return False
        write_artifact(target, files, read_meta(source))
        return True

    def _copy_head(self, head: str) -> None:
        if self._copy("heads", head):
            self.merged.heads.add(head)
        elif _logits(self.folder, head) != _logits(self.other, head):
            self.unlike.add(head)

    def _copy_cells(self, entry: _Entry, theirs: set[str]) -> None:
        """Keep or copy the valid cells of a row of the union, and remove the others."""
        heads = sorted({head for cell in entry["cells"] for head in _heads_of(cell) if self.heads.has(head)})
        for cell in entry["cells"]:
            own = self.folder.read_cell(cell["id"])
            if own and _is_valid(own, heads):
                continue
            if own:
                self.folder.remove_cell(cell["id"])
                self.merged.cells.discard(cell["id"])
            if cell["id"] in theirs and self._fits(cell, heads) and self._copy("cells", cell["id"]):
                self.merged.cells.add(cell["id"])

    def _fits(self, cell: _Entry, heads: list[str]) -> bool:
        """Whether their score of a cell is valid in the union, and was computed from the folder's own heads."""
        stored = self.other.read_cell(cell["id"])
        if stored is None:
            if self.other.exists("cells", cell["id"]):
                self.merged.damaged.append(str(self.other.path / "cells" / cell["id"]))
            return False
        used = stored.info["chosen_over"] or _heads_of(cell)
        return _is_valid(stored, heads) and not self.unlike.intersection(used)

    def _copy_failures(self, entry: _Entry) -> None:
        """Copy the failures of what neither folder has, and remove those of what the folder now has."""
        for cell in entry["cells"]:
            done = {head: self.heads.has(head) for head in _heads_of(cell)}
            done[cell["id"]] = self.folder.read_cell(cell["id"]) is not None
            for task, finished in done.items():
                if finished:
                    self.folder.remove_failure(task)
                elif self.folder.failure(task) is None and (message := self.other.failure(task)) is not None:
                    self.folder.write_failure(task, message, self.other.failure_trace(task))


def _heads_of(cell: _Entry) -> Iterable[str]:
    heads: dict[str, str] = cell["heads"]
    return heads.values()


def _logits(folder: RunFolder, head: str) -> dict[str, bytes] | None:
    """Files on which the scores of a head depend."""
    return read_artifact(folder.path / "heads" / head, names=("dev_logits.npy", "test_logits.npy"))


def _is_valid(cell: StoredCell, heads: list[str]) -> bool:
    """Whether nothing was chosen for a score, or it was chosen from exactly these heads."""
    return cell.info["chosen_over"] in ([], heads)


def _union(own: _Entry, theirs: _Entry, entries: list[_Entry]) -> _Entry:
    """Union of two grids: own descriptions, rows and notes first, then the given rows of the other grid."""
    described = [item["description"] for item in own["grids"]]
    rows = {entry["id"]: entry for entry in own["rows"]}
    for entry in entries:
        known = rows.get(entry["id"], {**entry, "cells": []})
        cells = {cell["id"]: cell for cell in [*entry["cells"], *known["cells"]]}
        ordered = sorted(cells.values(), key=lambda cell: (cell["seed"], cell["fold"]))
        rows[entry["id"]] = {**known, "cells": ordered}
    return {
        **theirs,
        **own,
        "grids": [*own["grids"], *(item for item in theirs["grids"] if item["description"] not in described)],
        "rows": list(rows.values()),
        "notes": list(dict.fromkeys([*own["notes"], *theirs["notes"]])),
    }


def _unscored(folder: RunFolder) -> Iterator[str]:
    """Names of the rows with a cell that has a trained head and is neither scored nor failed."""
    for entry in folder.grid()["rows"]:
        failed = failed_cells(folder, entry["cells"])
        waiting = [cell for cell in entry["cells"] if cell["id"] not in failed and not folder.read_cell(cell["id"])]
        if any(folder.has_head(head) for cell in waiting for head in _heads_of(cell)):
            yield Axes(**entry["axes"]).name
