"""Reasons: why a piece of work will run, in words, from its record and those of what was made before.

Knows nothing of folders: records in, words out. One that is not of the form that is written today is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from fusionkit.engine.embed import Embedding
from fusionkit.engine.source import Source
from fusionkit.grid.folder import RunFolder, heads_of
from fusionkit.grid.plan import HeadWork, Plan, RowPlan
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.options import automatic
from fusionkit.storage.embeddings import SHARD, EmbeddingStore, shard_count
from fusionkit.storage.lease import held
from fusionkit.storage.record import Record


@dataclass(frozen=True)
class Difference:
    """One thing in which a piece of work differs from one that was made before.

    Attributes:
        beneath: the same was asked for, but what lies beneath it has changed: code, data, a file.
    """

    text: str
    beneath: bool = False


Differences = list[Difference]


def nearest_head(wanted: Record, stored: Iterable[Record]) -> Differences | None:
    """How a head differs from the one most like it on the same data set and views, with a fusion of the same name.

    One of the same seed and fold goes before others; of equal ones the first. None where there is none.
    """

    def alike(other: Record) -> bool:
        return (
            other["data"]["name"] == wanted["data"]["name"]
            and list(other["views"]) == list(wanted["views"])
            and other["fusion"]["name"] == wanted["fusion"]["name"]
        )

    def distance(other: Record, found: Differences) -> tuple[int, ...]:
        elsewhere = (other["seed"] != wanted["seed"]) + (other["fold"]["name"] != wanted["fold"]["name"])
        return elsewhere, len(found)

    return _nearest(_as_read(wanted), stored, alike, head_differences, distance)


def nearest_embedding(wanted: Record, stored: Iterable[Record]) -> Differences | None:
    """How an embedding differs from the one most like it of the same data set and view, by a backbone of the same name.

    None where there is none; empty where there was the very same.
    """

    def alike(other: Record) -> bool:
        return (
            other["data"]["name"] == wanted["data"]["name"]
            and other["view"] == wanted["view"]
            and (other["backbone"] or {}).get("name") == (wanted["backbone"] or {}).get("name")
        )

    return _nearest(_as_read(wanted), stored, alike, embedding_differences, lambda _, found: (len(found),))


def nearest_cell(wanted: Record, stored: Iterable[Record]) -> Differences | None:
    """How the smoothing and scoring of a head differs from another of it, by a smoother of the same name."""

    def alike(other: Record) -> bool:
        return bool(other["smoother"]["name"] == wanted["smoother"]["name"])

    return _nearest(_as_read(wanted), stored, alike, cell_differences, lambda _, found: (len(found),))


def _nearest(
    wanted: Record,
    stored: Iterable[Record],
    alike: Callable[[Record], bool],
    differences: Callable[[Record, Record], Iterator[Difference]],
    distance: Callable[[Record, Differences], tuple[int, ...]],
) -> Differences | None:
    best: tuple[tuple[int, ...], Differences] | None = None
    for other in stored:
        try:
            if not alike(other):
                continue
            found = list(dict.fromkeys(differences(wanted, other)))
            far = distance(other, found)
        except (KeyError, TypeError, AttributeError):
            continue
        if best is None or far < best[0]:
            best = far, found
    return best[1] if best else None


def _as_read(record: Record) -> Record:
    """A record as it comes back from a file: tuples as lists."""
    plain: Record = json.loads(json.dumps(record))
    return plain


def head_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    """Everything in which two heads on views of the same names differ."""
    yield from _data_differences(wanted["data"], stored["data"])
    if wanted["fold"]["name"] != stored["fold"]["name"]:
        yield Difference(f"fold {wanted['fold']['name']} is new")
    elif wanted["fold"] != stored["fold"] and wanted["data"]["fingerprint"] == stored["data"]["fingerprint"]:
        yield Difference(f"split: fold {wanted['fold']['name']} holds other frames", beneath=True)
    for name, view in wanted["views"].items():
        yield from _view_differences(view, stored["views"][name])
    yield from component_differences("fusion", wanted["fusion"], stored["fusion"])
    yield from _changed("recipe: ", wanted["recipe"], stored["recipe"])
    yield from _changed("training: ", _only(wanted, "revision"), _only(stored, "revision"), beneath=True)
    if wanted["seed"] != stored["seed"]:
        yield Difference(f"seed {wanted['seed']} is new")
    yield from _changed("", _only(wanted, "device"), _only(stored, "device"))


def embedding_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    """Everything in which two embeddings of the same view differ."""
    yield from _data_differences(wanted["data"], stored["data"])
    yield from _view_differences(wanted, stored)


def cell_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    """Everything in which two ways to smooth and score differ."""
    yield from component_differences("smoother", wanted["smoother"], stored["smoother"])
    for stage, revision in wanted["revisions"].items():
        was = {"revision": stored["revisions"][stage]}
        yield from _changed(f"{stage}: ", {"revision": revision}, was, beneath=True)
    yield from _changed("", _only(wanted, "recipe", "impute"), stored)


def _view_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    yield from component_differences("extractor", wanted["extractor"], stored["extractor"])
    yield from component_differences("backbone", wanted["backbone"], stored["backbone"])
    yield from _changed("embedding: ", _only(wanted, "revision"), _only(stored, "revision"), beneath=True)
    how = "tokens", "precision", "device"
    yield from _changed("", _only(wanted, *how), _only(stored, *how))


def _data_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    name = f"data set {wanted['name']}"
    found = list(component_differences("data set", wanted, stored))
    yield from found
    if wanted["fingerprint"] == stored["fingerprint"]:
        return
    counts = f"{stored['frames']} -> {wanted['frames']} frames"
    if any(record["frames"] != record["of"] for record in (wanted, stored)):
        yield Difference(f"{name}: limited otherwise, {counts}")
    elif not found:
        more = f" ({counts})" if wanted["frames"] != stored["frames"] else ""
        yield Difference(f"{name}: its data changed{more}", beneath=True)


def component_differences(kind: str, wanted: Record | None, stored: Record | None) -> Iterator[Difference]:
    """Everything in which two records of components of one kind differ; None stands for no component."""
    if wanted is None or stored is None or wanted["name"] != stored["name"]:
        if wanted is not stored:
            yield Difference(f"{kind} {_name(stored)} -> {_name(wanted)}")
        return
    name, files = f"{kind} {wanted['name']}", wanted["files"]
    for option, value in wanted["options"].items():
        was = stored["options"].get(option, _ABSENT)
        if option in files and value and was and was is not _ABSENT and value != was:
            which = "" if option == "weights" else f" ({option})"
            yield Difference(f"{name}: weights file changed{which}", beneath=True)
        elif value != was:
            after = "a file" if option in files and value else _text(value)
            before = "a file" if option in files and isinstance(was, str) else _text(was)
            yield Difference(f"{name}: {option} {before} -> {after}", beneath=was is _ABSENT)
    for option in (name for name in stored["options"] if name not in wanted["options"]):
        yield Difference(f"{name}: option {option} is gone", beneath=True)
    brought = [record["distribution"] for record in (stored, wanted)]
    by = f" ({' -> '.join(_shortened(*brought))})" if all(brought) and brought[0] != brought[1] else ""
    if wanted["revision"] != stored["revision"]:  # its source has then changed as well, if only by that number
        yield Difference(f"{name}: revision {stored['revision']} -> {wanted['revision']}{by}", beneath=True)
    elif wanted["source"] != stored["source"]:
        yield Difference(f"{name}: its source changed{by}", beneath=True)


class _Absent:
    """Stands for an option that there was not."""


_ABSENT = _Absent()


def _shortened(before: str, after: str) -> tuple[str, str]:
    """``my_pkg 0.1`` and ``0.2``: the distribution is named once where it is the same."""
    name, _, version = after.rpartition(" ")
    return before, version if before.rpartition(" ")[0] == name else after


def _only(record: Record, *names: str) -> dict[str, Any]:
    return {name: record[name] for name in names if name in record}


def _changed(prefix: str, wanted: Record, stored: Record, *, beneath: bool = False) -> Iterator[Difference]:
    for name, value in wanted.items():
        was = stored.get(name, _ABSENT)
        if value != was:
            yield Difference(f"{prefix}{name} {_text(was)} -> {_text(value)}", beneath)


def _name(record: Record | None) -> str:
    return record["name"] if record else "none"


def _text(value: Any) -> str:
    if value is _ABSENT:
        return "(not there)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


State = Literal["planned", "running", "done", "failed", "stale"]

DAMAGED = "checksum differs"
NEW = "new"


@dataclass(frozen=True)
class TaskStatus:
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
class EmbeddingStatus:
    """An embedding and its prospect.

    Attributes:
        missing: shards that are not there, or damaged.
    """

    embedding: Embedding
    source: Source
    missing: tuple[int, ...]
    prospect: TaskStatus

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
class HeadStatus:
    """A head and its prospect."""

    head: HeadWork
    prospect: TaskStatus


@dataclass(frozen=True, eq=False)
class CellStatus:
    """A cell, as its row and the first of the heads that it may be made of, and its prospect."""

    row: RowPlan
    head: HeadWork
    prospect: TaskStatus


@dataclass(frozen=True, eq=False)
class PlanStatus:
    """All work of a plan with its prospects."""

    embeddings: list[EmbeddingStatus]
    heads: list[HeadStatus]
    cells: list[CellStatus]


def plan_status(plan: Plan, folder: RunFolder, store: EmbeddingStore, *, retry_failed: bool = False) -> PlanStatus:
    """What a run of the plan would do, and why.

    Bytes are compared with their checksums where a run would do so: those of heads and cells, and those of embeddings
    from which a head will be trained.

    Raises:
        DataError: if something was written by a later version of fusionkit.
    """
    return _Look(plan, folder, store, retry_failed).outlook()


_RUNNING = TaskStatus("running", "another run is at it", runs=True)


class _Look:
    def __init__(self, plan: Plan, folder: RunFolder, store: EmbeddingStore, retry_failed: bool) -> None:
        self.plan = plan
        self.folder = folder
        self.store = store
        self.retry_failed = retry_failed
        self.choices: dict[str, list[str]] = {}  # by row: the heads over which a run would choose
        self.heads = {head.id: self._head(head) for head in plan.heads.values()}

    def outlook(self) -> PlanStatus:
        cells = [
            CellStatus(row, rivals[0], self._cell(row, rivals))
            for row in self.plan.rows
            for rivals in row.groups.values()
        ]
        return PlanStatus(
            embeddings=list(self._embeddings(cells)),
            heads=[HeadStatus(head, self.heads[head.id]) for head in self.plan.heads.values()],
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

    def _head(self, head: HeadWork) -> TaskStatus:
        if self.folder.has_head(head.id):
            return TaskStatus("done")
        damaged = self.folder.stands("heads", head.id)
        failure = self.folder.failure(head.id)
        if held(self.folder.path / "leases" / head.id):
            return _RUNNING
        if failure and not self.retry_failed:
            return TaskStatus("failed", f"{failure} (--retry-failed tries again)")
        if failure:
            return TaskStatus("failed", f"tried again: {failure}", runs=True)
        if damaged:
            return TaskStatus("stale", DAMAGED, runs=True)
        return _worded(nearest_head(head.record, self.head_records))

    # -- embeddings ------------------------------------------------------------------------------------------------

    def _embeddings(self, cells: list[CellStatus]) -> Iterator[EmbeddingStatus]:
        users: dict[str, list[HeadWork]] = {}
        found: dict[str, tuple[Embedding, Source]] = {}
        for head in self.plan.heads.values():
            for embedding in head.embeddings.values():
                users.setdefault(embedding.key, []).append(head)
                found.setdefault(embedding.key, (embedding, head.fold_data.source))
        looked_at = {
            embedding.key
            for cell in cells
            if cell.prospect.runs and SMOOTHERS.get(cell.row.smoother.name).needs == "embeddings"
            for embedding in cell.head.embeddings.values()
        }
        for key, (embedding, source) in found.items():
            states = [self.heads[head.id] for head in users[key]]
            needed = key in looked_at or any(state.runs for state in states)
            missing = self.store.missing(key, len(source.table), verify=needed)
            if missing and not needed:
                failed = any(state.state == "failed" for state in states)
                prospect = TaskStatus("failed" if failed else "done", _UNNEEDED[failed])
            else:
                prospect = self._embedding(embedding, missing, shard_count(len(source.table)))
            yield EmbeddingStatus(embedding, source, tuple(missing), prospect)

    def _embedding(self, embedding: Embedding, missing: list[int], shards: int) -> TaskStatus:
        if not missing:
            return TaskStatus("done")
        if any(held(self.store.root / "leases" / f"{embedding.key}-{index:05d}") for index in missing):
            return _RUNNING
        damaged = sum(self.store.stands(embedding.key, index) for index in missing)
        absent = len(missing) - damaged
        if absent == shards:
            return _worded(nearest_embedding(embedding.record, self.embedding_records), same="no longer in the cache")
        parts = [f"{DAMAGED} in {damaged} of {shards} shards" if shards > 1 else DAMAGED] if damaged else []
        parts += [f"{absent} of {shards} shards missing"] if absent else []
        return TaskStatus("stale" if damaged else "planned", "; ".join(parts), runs=True)

    # -- cells -----------------------------------------------------------------------------------------------------

    def _cell(self, row: RowPlan, rivals: list[HeadWork]) -> TaskStatus:
        states = [self.heads[head.id] for head in rivals]
        name = row.cell_id(rivals[0])
        if not any(state.runs or state.state == "done" for state in states):
            return TaskStatus("failed", "its head failed")
        stored = self.folder.read_cell(name)
        stands = stored is not None and stored.info.get("chosen_over", []) == self._chosen_over(row)
        if stands:
            return TaskStatus("done")
        if held(self.folder.path / "leases" / f"score-{row.id}"):
            return _RUNNING
        if any(state.runs for state in states):
            return TaskStatus("planned", "its head is trained first", runs=True)
        if stored is not None:
            return TaskStatus("stale", "chosen on dev over other heads than now", runs=True)
        failure = self.folder.failure(name)
        if failure:
            return TaskStatus("failed", f"tried again: {failure}", runs=True)
        if self.folder.stands("cells", name):
            return TaskStatus("stale", DAMAGED, runs=True)
        made = [record for head in rivals for record in self.cell_records.get(head.id, [])]
        return _worded(nearest_cell(row.record, made))

    def _chosen_over(self, row: RowPlan) -> list[str]:
        if row.id not in self.choices:
            self.choices[row.id] = self._heads_of_choice(row)
        return self.choices[row.id]

    def _heads_of_choice(self, row: RowPlan) -> list[str]:
        """The heads over which a run would choose recipe and smoother; none where there is nothing to choose."""
        open_options = automatic(SMOOTHERS.get(row.smoother.name), row.smoother.options)
        if len({head.recipe for head in row.heads}) == 1 and not open_options:
            return []
        stored = {head for cell in self._grid.get(row.id, []) for head in heads_of(cell)}
        own = {head.id for head in row.heads}
        there = {head for head in stored - own if self.folder.has_head(head)}
        return sorted(there | {head for head in own if self.heads[head].runs or self.heads[head].state == "done"})

    @cached_property
    def _grid(self) -> dict[str, list[dict[str, Any]]]:
        """Cells by row, as earlier grids in the folder left them."""
        grid = self.folder.load_grid()
        return {record["id"]: record["cells"] for record in grid["rows"]} if grid else {}


_UNNEEDED = {
    False: "not in the cache, and not needed: its heads are done",
    True: "not needed: a head that uses it failed, and no other is to be trained",
}


def _views(record: Record) -> list[Record]:
    views = record.get("views")
    return [view for view in views.values() if isinstance(view, dict)] if isinstance(views, dict) else []


def _worded(differences: Differences | None, *, same: str = NEW) -> TaskStatus:
    """The prospect of something that is not there, by how it differs from what is most like it.

    Args:
        differences: none of them where the very same was made.
        same: the reason in that case.
    """
    if not differences:
        return TaskStatus("planned", NEW if differences is None else same, runs=True)
    beneath = all(difference.beneath for difference in differences)
    reason = "; ".join(difference.text for difference in differences)
    return TaskStatus("stale" if beneath else "planned", reason, runs=True)
