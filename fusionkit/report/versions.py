"""Rows whose results were computed by different versions of the libraries that decide them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from fusionkit.grid.folder import RunFolder
from fusionkit.grid.results import RunResults
from fusionkit.report.row_names import RowNames
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.storage.record import Versions, library_versions

if TYPE_CHECKING:
    from fusionkit.grid.status import CellStatus, PlanStatus

Stage = Literal["views embedded", "heads trained", "cells scored"]
Computed = tuple[Stage, str, Versions]  # by stage and row

_NAMED = 5  # rows in a line


def version_warnings(results: RunResults) -> list[str]:
    """Return a line for each stage in which versions differ within rows or between rows of a run folder."""
    names = RowNames(results.rows)
    heads = {info["id"]: info for info in results.folder.infos("heads")}
    by_id = {row.id: names(row.axes) for row in results.rows}
    return list(_lines(_stored(results, heads, by_id)))


def planned_version_warnings(status: PlanStatus, folder: RunFolder, store: EmbeddingStore) -> list[str]:
    """Return such lines for the rows of a plan after its run, which uses the installed versions."""
    rows = list(dict.fromkeys(cell.row for cell in status.cells))
    names = RowNames(rows)
    by_id = {row.id: names(row.axes) for row in rows}
    heads, cells = ({info["id"]: info for info in folder.infos(kind)} for kind in ("heads", "cells"))
    runs = {each.head.id for each in status.heads if each.status.runs}
    missing = {each.embedding.key for each in status.embeddings if each.status.runs}
    versions_of_views = cache(store.versions)
    found: list[Computed] = []
    for cell in status.cells:
        row = by_id[cell.row.id]
        for head in cell.row.candidates(cell.head):
            if head.id in runs:
                keys = {embedding.key for embedding in head.embeddings.values()}
                found.append(("heads trained", row, library_versions()))
                found += [("views embedded", row, each) for key in keys for each in versions_of_views(key)]
                found += [("views embedded", row, library_versions())] if keys & missing else []
            else:
                found += _of_head(row, heads.get(head.id, {}))
        found += _of_cell(row, library_versions() if cell.status.runs else _versions_of(cells, cell))
    return list(_lines(found))


def _stored(results: RunResults, heads: dict[str, dict[str, Any]], names: dict[str, str]) -> Iterator[Computed]:
    for row in results.stored.values():
        for cell in row.cells.values():
            yield from _of_cell(names[row.id], cell.info.get("versions"))
        for head in set(row.heads):
            yield from _of_head(names[row.id], heads.get(head, {}))


def _of_head(row: str, info: dict[str, Any]) -> Iterator[Computed]:
    for versions in info.get("embedding_versions", ()):
        yield "views embedded", row, versions
    if "versions" in info:
        yield "heads trained", row, info["versions"]


def _of_cell(row: str, versions: Versions | None) -> Iterator[Computed]:
    if versions is not None:
        yield "cells scored", row, versions


def _versions_of(cells: dict[str, dict[str, Any]], cell: CellStatus) -> Versions | None:
    found: Versions | None = cells.get(cell.row.cell_id(cell.head), {}).get("versions")
    return found


def _lines(computed: Iterable[Computed]) -> Iterator[str]:
    by_stage: dict[Stage, list[tuple[str, Versions]]] = {}
    for stage, row, versions in computed:
        by_stage.setdefault(stage, []).append((row, versions))
    for stage, found in by_stage.items():
        shared = set.intersection(*(set(versions) for _, versions in found))
        differ = [name for name in found[0][1] if name in shared and len({each[name] for _, each in found}) > 1]
        rows: dict[str, dict[str, None]] = {}
        for row, versions in found:
            text = ", ".join(f"{name} {versions[name]}" for name in differ)
            rows.setdefault(text, {})[row] = None
        if differ:
            yield f"{stage} with " + " and ".join(f"{text} ({_rows(list(rows[text]))})" for text in sorted(rows))


def _rows(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"row{'s' * (len(names) > 1)} {', '.join(names[:_NAMED])}{more}"
