"""Outlook: the state of every piece of a plan's work, and the reason why it will run. Looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from fusionkit.engine.embed import Embedding
from fusionkit.engine.embeddings import SHARD, EmbeddingStore, shard_count
from fusionkit.engine.record import Record
from fusionkit.engine.source import Source
from fusionkit.grid.folder import RunFolder, heads_of
from fusionkit.grid.lease import held
from fusionkit.grid.plan import Family, HeadWork, Plan
from fusionkit.grid.reasons import Differences, nearest_cell, nearest_embedding, nearest_head
from fusionkit.options import automatic
from fusionkit.registry import SMOOTHERS

State = Literal["planned", "running", "done", "failed", "stale"]

DAMAGED = "checksum differs"
NEW = "new"


@dataclass(frozen=True)
class Prospect:
    """What is ahead of a piece of work.

    Attributes:
        state: ``stale`` is what was made, and stands no longer: it is damaged, or what lies beneath it has changed.
        reason: why it will run, or why it will not; empty for what is simply done.
        runs: whether a run would do it.
    """

    state: State
    reason: str = ""
    runs: bool = False


@dataclass(frozen=True, eq=False)
class EmbeddingAhead:
    """An embedding and its prospect.

    Attributes:
        missing: shards that are not there, or damaged.
    """

    embedding: Embedding
    source: Source
    missing: tuple[int, ...]
    prospect: Prospect

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return len(self.source.table)

    @property
    def remaining(self) -> int:
        """How many frames a run would embed."""
        rows = (min(self.frames - index * SHARD, SHARD) for index in self.missing)
        return sum(rows) if self.prospect.runs else 0


@dataclass(frozen=True, eq=False)
class HeadAhead:
    """A head and its prospect."""

    head: HeadWork
    prospect: Prospect


@dataclass(frozen=True, eq=False)
class CellAhead:
    """A cell, as its family and the first of the heads that it may be made of, and its prospect."""

    family: Family
    head: HeadWork
    prospect: Prospect


@dataclass(frozen=True, eq=False)
class Outlook:
    """All work of a plan with its prospects."""

    embeddings: list[EmbeddingAhead]
    heads: list[HeadAhead]
    cells: list[CellAhead]


def look_ahead(plan: Plan, folder: RunFolder, store: EmbeddingStore, *, retry_failed: bool = False) -> Outlook:
    """What a run of the plan would do, and why.

    Bytes are compared with their checksums where a run would do so: those of heads and cells, and those of embeddings
    from which a head will be trained.

    Raises:
        DataError: if something was written by a later version of fusionkit.
    """
    return _Look(plan, folder, store, retry_failed).outlook()


_RUNNING = Prospect("running", "another run is at it", runs=True)


class _Look:
    def __init__(self, plan: Plan, folder: RunFolder, store: EmbeddingStore, retry_failed: bool) -> None:
        self.plan = plan
        self.folder = folder
        self.store = store
        self.retry_failed = retry_failed
        self.choices: dict[str, list[str]] = {}  # by family: the heads over which a run would choose
        self.heads = {head.id: self._head(head) for head in plan.heads.values()}

    def outlook(self) -> Outlook:
        cells = [
            CellAhead(family, rivals[0], self._cell(family, rivals))
            for family in self.plan.families
            for rivals in family.groups.values()
        ]
        return Outlook(
            embeddings=list(self._embeddings(cells)),
            heads=[HeadAhead(head, self.heads[head.id]) for head in self.plan.heads.values()],
            cells=cells,
        )

    @cached_property
    def head_records(self) -> list[Record]:
        return [note["record"] for note in self.folder.notes("heads") if note.get("record")]

    @cached_property
    def cell_records(self) -> dict[str, list[Record]]:
        """By the head that was smoothed and scored."""
        found: dict[str, list[Record]] = {}
        for note in self.folder.notes("cells"):
            if note.get("record"):
                found.setdefault(str(note.get("head")), []).append(note["record"])
        return found

    @cached_property
    def embedding_records(self) -> list[Record]:
        """Of what lies in the cache, and of what heads were trained on, which the cache may have lost."""
        stored = [note["record"] for note in self.store.notes() if note.get("record")]
        used = [{**view, "data": record.get("data")} for record in self.head_records for view in _views(record)]
        return stored + used

    # -- heads -----------------------------------------------------------------------------------------------------

    def _head(self, head: HeadWork) -> Prospect:
        if self.folder.has_head(head.id):
            return Prospect("done")
        damaged = self.folder.stands("heads", head.id)
        failure = self.folder.failure(head.id)
        if held(self.folder.path / "leases" / head.id):
            return _RUNNING
        if failure and not self.retry_failed:
            return Prospect("failed", f"{failure} (--retry-failed tries again)")
        if failure:
            return Prospect("failed", f"tried again: {failure}", runs=True)
        if damaged:
            return Prospect("stale", DAMAGED, runs=True)
        return _worded(nearest_head(head.record, self.head_records))

    # -- embeddings ------------------------------------------------------------------------------------------------

    def _embeddings(self, cells: list[CellAhead]) -> Iterator[EmbeddingAhead]:
        users: dict[str, list[HeadWork]] = {}
        found: dict[str, tuple[Embedding, Source]] = {}
        for head in self.plan.heads.values():
            for embedding in head.embeddings.values():
                users.setdefault(embedding.key, []).append(head)
                found.setdefault(embedding.key, (embedding, head.trial.source))
        looked_at = {
            embedding.key
            for cell in cells
            if cell.prospect.runs and SMOOTHERS.get(cell.family.smoother.name).needs == "embeddings"
            for embedding in cell.head.embeddings.values()
        }
        for key, (embedding, source) in found.items():
            states = [self.heads[head.id] for head in users[key]]
            needed = key in looked_at or any(state.runs for state in states)
            missing = self.store.missing(key, len(source.table), verify=needed)
            if missing and not needed:
                failed = any(state.state == "failed" for state in states)
                prospect = Prospect("failed" if failed else "done", _UNNEEDED[failed])
            else:
                prospect = self._embedding(embedding, missing, shard_count(len(source.table)))
            yield EmbeddingAhead(embedding, source, tuple(missing), prospect)

    def _embedding(self, embedding: Embedding, missing: list[int], shards: int) -> Prospect:
        if not missing:
            return Prospect("done")
        if any(held(self.store.root / "leases" / f"{embedding.key}-{index:05d}") for index in missing):
            return _RUNNING
        damaged = sum(self.store.stands(embedding.key, index) for index in missing)
        absent = len(missing) - damaged
        if absent == shards:
            return _worded(nearest_embedding(embedding.record, self.embedding_records), same="no longer in the cache")
        parts = [f"{DAMAGED} in {damaged} of {shards} shards" if shards > 1 else DAMAGED] if damaged else []
        parts += [f"{absent} of {shards} shards missing"] if absent else []
        return Prospect("stale" if damaged else "planned", "; ".join(parts), runs=True)

    # -- cells -----------------------------------------------------------------------------------------------------

    def _cell(self, family: Family, rivals: list[HeadWork]) -> Prospect:
        states = [self.heads[head.id] for head in rivals]
        name = family.cell_id(rivals[0])
        if not any(state.runs or state.state == "done" for state in states):
            return Prospect("failed", "its head failed")
        stored = self.folder.read_cell(name)
        stands = stored is not None and stored.info.get("chosen_over", []) == self._chosen_over(family)
        if stands:
            return Prospect("done")
        if held(self.folder.path / "leases" / f"score-{family.id}"):
            return _RUNNING
        if any(state.runs for state in states):
            return Prospect("planned", "its head is trained first", runs=True)
        if stored is not None:
            return Prospect("stale", "chosen on dev over other heads than now", runs=True)
        failure = self.folder.failure(name)
        if failure:
            return Prospect("failed", f"tried again: {failure}", runs=True)
        if self.folder.stands("cells", name):
            return Prospect("stale", DAMAGED, runs=True)
        made = [record for head in rivals for record in self.cell_records.get(head.id, [])]
        return _worded(nearest_cell(family.record, made))

    def _chosen_over(self, family: Family) -> list[str]:
        if family.id not in self.choices:
            self.choices[family.id] = self._heads_of_choice(family)
        return self.choices[family.id]

    def _heads_of_choice(self, family: Family) -> list[str]:
        """The heads over which a run would choose recipe and smoother; none where there is nothing to choose."""
        open_options = automatic(SMOOTHERS.get(family.smoother.name), family.smoother.options)
        if len({head.recipe for head in family.heads}) == 1 and not open_options:
            return []
        stored = {head for cell in self._grid.get(family.id, []) for head in heads_of(cell)}
        own = {head.id for head in family.heads}
        there = {head for head in stored - own if self.folder.has_head(head)}
        return sorted(there | {head for head in own if self.heads[head].runs or self.heads[head].state == "done"})

    @cached_property
    def _grid(self) -> dict[str, list[dict[str, Any]]]:
        """Cells by family, as earlier grids in the folder left them."""
        grid = self.folder.load_grid()
        return {record["id"]: record["cells"] for record in grid["families"]} if grid else {}


_UNNEEDED = {
    False: "not in the cache, and not needed: its heads are done",
    True: "not needed: a head that uses it failed, and no other is to be trained",
}


def _views(record: Record) -> list[Record]:
    views = record.get("views")
    return [view for view in views.values() if isinstance(view, dict)] if isinstance(views, dict) else []


def _worded(differences: Differences | None, *, same: str = NEW) -> Prospect:
    """The prospect of something that is not there, by how it differs from what is most like it.

    Args:
        differences: none of them where the very same was made.
        same: the reason in that case.
    """
    if not differences:
        return Prospect("planned", NEW if differences is None else same, runs=True)
    beneath = all(difference.beneath for difference in differences)
    reason = "; ".join(difference.text for difference in differences)
    return Prospect("stale" if beneath else "planned", reason, runs=True)
