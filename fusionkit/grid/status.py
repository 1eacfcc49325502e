"""Status of a plan: what a run would do, and why: how each task differs from the most similar stored result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from fusionkit.engine.embed import Embedding
from fusionkit.engine.source import Source
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import HeadWork, Plan, RowPlan
from fusionkit.grid.progress import Progress
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.sweep import dev_candidates
from fusionkit.storage.embeddings import SHARD, EmbeddingStore, shard_count
from fusionkit.storage.identity import canonical
from fusionkit.storage.lease import held
from fusionkit.storage.record import Record

State = Literal["planned", "running", "done", "failed", "stale"]

_COMPARED = 20  # configurations of heads with which a new one is compared
DAMAGED = "checksum differs"
NEW = "new"


@dataclass(frozen=True)
class TaskStatus:
    """Status of one task.

    Attributes:
        state: ``stale``: the stored result is damaged, or code, data or a file that it depends on has changed.
        reason: why the task will run or not; empty for a plain ``done``.
        runs: whether a run would do the task.
    """

    state: State
    reason: str = ""
    runs: bool = False


@dataclass(frozen=True, eq=False)
class EmbeddingStatus:
    """An embedding with its status.

    Attributes:
        missing: indices of the shards that are missing or damaged.
    """

    embedding: Embedding
    source: Source
    missing: tuple[int, ...]
    status: TaskStatus

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.source.table)

    @property
    def remaining(self) -> int:
        """Number of frames that a run would embed."""
        rows = (min(self.frames - index * SHARD, SHARD) for index in self.missing)
        return sum(rows) if self.status.runs else 0


@dataclass(frozen=True, eq=False)
class HeadStatus:
    """A head with its status."""

    head: HeadWork
    status: TaskStatus


@dataclass(frozen=True, eq=False)
class CellStatus:
    """A cell, as its row and the first of its candidate heads, with its status."""

    row: RowPlan
    head: HeadWork
    status: TaskStatus


@dataclass(frozen=True, eq=False)
class PlanStatus:
    """Status of every task of a plan."""

    embeddings: list[EmbeddingStatus]
    heads: list[HeadStatus]
    cells: list[CellStatus]


def plan_status(
    plan: Plan,
    folder: RunFolder,
    store: EmbeddingStore,
    *,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> PlanStatus:
    """Return what a run of the plan would do, and why.

    Checksums are verified where a run verifies them: of heads, of cells, and of embeddings that a head to train needs.

    Args:
        plan: the plan.
        folder: of the run.
        store: of embeddings.
        retry_failed: whether the run would retry what failed.
        progress: receives checked heads and rows.

    Raises:
        DataError: if a file was written by a later version of fusionkit.
    """
    return _Inspection(plan, folder, store, retry_failed, progress or Progress()).status()


_RUNNING = TaskStatus("running", "another run is working on it", runs=True)
_NOT_NEEDED = TaskStatus("done", "not in the cache, and not needed: its heads are trained")
_AFTER_ITS_HEAD = TaskStatus("planned", "its head is trained first", runs=True)
_NEEDED_BY_FAILED = TaskStatus("failed", "not needed: a head that uses it failed, and no other will be trained")


class _Inspection:
    def __init__(
        self, plan: Plan, folder: RunFolder, store: EmbeddingStore, retry_failed: bool, progress: Progress
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.store = store
        self.retry_failed = retry_failed
        self.present = folder.names()
        self.progress = progress
        self.heads: dict[str, TaskStatus] = {}

    def status(self) -> PlanStatus:
        heads, cells = self.plan.heads, list[CellStatus]()
        with self.progress.stage("check", len(heads) + len(self.plan.rows), "heads and rows"):
            for head in heads.values():
                self.heads[head.id] = self._head(head)
                self.progress.advance()
            for row in self.plan.rows:
                cells += self._cells(row)
                self.progress.advance()
        return PlanStatus(
            embeddings=list(self._embeddings(cells)),
            heads=[HeadStatus(head, self.heads[head.id]) for head in heads.values()],
            cells=cells,
        )

    # -- heads -----------------------------------------------------------------------------------------------------

    def _head(self, head: HeadWork) -> TaskStatus:
        if head.id not in self.present:
            return _missing(self.head_records.nearest(head.record))
        if self.folder.has_head(head.id):
            return TaskStatus("done")
        if held(self.folder.path / "leases" / head.id):
            return _RUNNING
        failure = self.folder.failure(head.id)
        if failure and not self.retry_failed:
            return TaskStatus("failed", f"{failure} (--retry-failed retries it)")
        if failure:
            return TaskStatus("failed", f"will be retried: {failure}", runs=True)
        if self.folder.exists("heads", head.id):
            return TaskStatus("stale", DAMAGED, runs=True)
        return _missing(self.head_records.nearest(head.record))

    @cached_property
    def head_records(self) -> HeadRecords:
        return HeadRecords(note["record"] for note in self.folder.infos("heads") if note.get("record"))

    # -- embeddings ------------------------------------------------------------------------------------------------

    def _embeddings(self, cells: list[CellStatus]) -> Iterator[EmbeddingStatus]:
        users: dict[str, list[HeadWork]] = {}
        found: dict[str, tuple[Embedding, Source]] = {}
        for head in self.plan.heads.values():
            for embedding in head.embeddings.values():
                users.setdefault(embedding.key, []).append(head)
                found.setdefault(embedding.key, (embedding, head.fold_data.source))
        smoothed = {
            embedding.key
            for cell in cells
            if cell.status.runs and SMOOTHERS.get(cell.row.smoother.name).reads_embeddings()
            for embedding in cell.head.embeddings.values()
        }
        for key, (embedding, source) in found.items():
            heads = [self.heads[head.id] for head in users[key]]
            needed = key in smoothed or any(head.runs for head in heads)
            missing = self.store.missing(key, len(source.table), verify=needed)
            if missing and not needed:
                status = _NEEDED_BY_FAILED if any(head.state == "failed" for head in heads) else _NOT_NEEDED
            else:
                status = self._embedding(embedding, missing, shard_count(len(source.table)))
            yield EmbeddingStatus(embedding, source, tuple(missing), status)

    def _embedding(self, embedding: Embedding, missing: list[int], shards: int) -> TaskStatus:
        if not missing:
            return TaskStatus("done")
        if any(held(self.store.root / "leases" / f"{embedding.key}-{index:05d}") for index in missing):
            return _RUNNING
        damaged = sum(self.store.exists(embedding.key, index) for index in missing)
        absent = len(missing) - damaged
        if absent == shards:
            differences = nearest_embedding(embedding.record, self.embedding_records)
            return _missing(differences, identical="no longer in the cache")
        reasons = [f"{DAMAGED} in {damaged} of {shards} shards" if shards > 1 else DAMAGED] if damaged else []
        reasons += [f"{absent} of {shards} shards missing"] if absent else []
        return TaskStatus("stale" if damaged else "planned", "; ".join(reasons), runs=True)

    @cached_property
    def embedding_records(self) -> list[Record]:
        """Records of the embeddings in the cache, and of those that heads were trained on."""
        stored = [note["record"] for note in self.store.metas() if note.get("record")]
        return stored + [
            {**view, "data": record.get("data")}
            for record in self.head_records.trained
            for view in record["views"].values()
        ]

    # -- cells -----------------------------------------------------------------------------------------------------

    def _cells(self, row: RowPlan) -> Iterator[CellStatus]:
        chosen_over = self._chosen_over(row)
        for candidates in row.groups.values():
            yield CellStatus(row, candidates[0], self._cell(row, candidates, chosen_over))

    def _cell(self, row: RowPlan, candidates: list[HeadWork], chosen_over: list[str]) -> TaskStatus:
        heads = [self.heads[head.id] for head in candidates]
        cell = row.cell_id(candidates[0])
        if not any(head.runs or head.state == "done" for head in heads):
            return TaskStatus("failed", "its head failed")
        stored = self.folder.read_cell(cell) if cell in self.present else None
        if stored is not None and stored.info["chosen_over"] == chosen_over:
            return TaskStatus("done")
        lease = f"score-{row.id}"
        if lease in self.present and held(self.folder.path / "leases" / lease):
            return _RUNNING
        if any(head.runs for head in heads):
            return _AFTER_ITS_HEAD
        if stored is not None:
            return TaskStatus("stale", "its options were chosen on dev from other heads", runs=True)
        failure = self.folder.failure(cell)
        if failure:
            return TaskStatus("failed", f"will be retried: {failure}", runs=True)
        if self.folder.exists("cells", cell):
            return TaskStatus("stale", DAMAGED, runs=True)
        records = [record for head in candidates for record in self.cell_records.get(head.id, [])]
        return _missing(nearest_cell(row.record, records))

    @cached_property
    def cell_records(self) -> dict[str, list[Record]]:
        """Records of stored cells, by their head."""
        found: dict[str, list[Record]] = {}
        for note in self.folder.infos("cells"):
            if note.get("record"):
                found.setdefault(str(note.get("head")), []).append(note["record"])
        return found

    def _chosen_over(self, row: RowPlan) -> list[str]:
        """Heads from which a run would choose fusion, recipe and smoother options; empty without a choice."""
        if len({head.candidate for head in row.heads}) == len(dev_candidates(SMOOTHERS, row.smoother)) == 1:
            return []
        own = {head.id for head in row.heads}
        earlier = {head for cell in self.cells_by_row.get(row.id, []) for head in cell["heads"].values()} - own
        return sorted(
            {head for head in earlier if self.folder.has_head(head)}
            | {head for head in own if self.heads[head].runs or self.heads[head].state == "done"}
        )

    @cached_property
    def cells_by_row(self) -> dict[str, list[dict[str, Any]]]:
        """Cells of earlier grids in the folder, by row."""
        grid = self.folder.load_grid()
        return {entry["id"]: entry["cells"] for entry in grid["rows"]} if grid else {}


# -- differences between records ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """One difference between a task and a stored result.

    Attributes:
        stale: the request is the same, but code, data or a file has changed.
    """

    text: str
    stale: bool = False


Differences = list[Difference]


def _missing(differences: Differences | None, *, identical: str = NEW) -> TaskStatus:
    """Status of a task without a stored result, by its differences from the most similar result.

    Args:
        differences: None if no result is similar.
        identical: the reason if there is no difference.
    """
    if not differences:
        return TaskStatus("planned", NEW if differences is None else identical, runs=True)
    stale = all(difference.stale for difference in differences)
    reason = "; ".join(difference.text for difference in differences)
    return TaskStatus("stale" if stale else "planned", reason, runs=True)


class HeadRecords:
    """Records of trained heads, from which that of the most similar head is found.

    Heads that differ only in seed and fold are one group: a wanted head is compared with one of each group.

    Args:
        records: the latest first. Those of another version are left out.

    Attributes:
        trained: the records.
    """

    def __init__(self, records: Iterable[Record]) -> None:
        self.trained: list[Record] = []
        self._groups: dict[str, dict[str, dict[tuple[Any, ...], Record]]] = {}
        for record in records:
            with suppress(KeyError, TypeError, AttributeError):  # a record of another version
                seed, fold = record["seed"], record["fold"]["name"]
                group = self._groups.setdefault(_kind_of_head(record), {}).setdefault(_configuration(record), {})
                self.trained.append(record)
                for key in ((seed, fold), ("seed", seed), ("fold", fold), ()):
                    group.setdefault(key, record)

    def nearest(self, wanted: Record) -> Differences | None:
        """Return the differences from the most similar head of the same data set, view names and fusion name.

        The same seed, fold and location of the data take precedence, then the number of differences, then the order of
        the records. With many configurations, those with the same options of the fusion and the latest are compared.
        """
        groups = self._groups.get(_kind_of_head(wanted), {})
        options, seed, fold = wanted["fusion"]["options"], wanted["seed"], wanted["fold"]["name"]
        keys = ((seed, fold), ("seed", seed), ("fold", fold), ())
        found = [next(group[key] for key in keys if key in group) for group in groups.values()]
        if len(found) > _COMPARED:
            same = [record for record in found if record["fusion"]["options"] == options]
            found = same[:_COMPARED] + found[:_COMPARED]

        def moved(other: Record) -> int:
            places = other["data"]["places"] != wanted["data"]["places"]
            return int(other["seed"] != seed) + int(other["fold"]["name"] != fold) + int(places)

        return _nearest(wanted, found, _kind_of_head, _head_differences, moved)


def _kind_of_head(record: Record) -> str:
    return canonical([record["data"]["name"], list(record["views"]), record["fusion"]["name"]])


def _configuration(record: Record) -> str:
    """A head's record without its seed and fold, as text."""
    return canonical({name: value for name, value in record.items() if name not in ("seed", "fold")})


def nearest_embedding(wanted: Record, stored: Iterable[Record]) -> Differences | None:
    """Return the differences from the most similar embedding of the same data set, view and backbone name.

    The same location of the data takes precedence.
    """

    def kind(record: Record) -> Any:
        return record["data"]["name"], record["view"], (record["backbone"] or {}).get("name")

    def moved(other: Record) -> int:
        return int(other["data"]["places"] != wanted["data"]["places"])

    return _nearest(wanted, stored, kind, embedding_differences, moved)


def nearest_cell(wanted: Record, stored: Iterable[Record]) -> Differences | None:
    """Return the differences from the most similar cell of the same head, by a smoother of the same name."""
    return _nearest(wanted, stored, lambda record: record["smoother"]["name"], cell_differences)


def _nearest(
    wanted: Record,
    stored: Iterable[Record],
    kind: Callable[[Record], Any],
    differences: Callable[[Record, Record], Iterator[Difference]],
    moved: Callable[[Record], int] = lambda _: 0,
) -> Differences | None:
    wanted = json.loads(json.dumps(wanted))  # as records are read: tuples as lists
    found: list[tuple[tuple[int, int], Differences]] = []
    for other in stored:
        with suppress(KeyError, TypeError, AttributeError):  # a record of another version
            if kind(other) == kind(wanted):
                each = list(dict.fromkeys(differences(wanted, other)))
                found.append(((moved(other), len(each)), each))
    return min(found, key=lambda item: item[0])[1] if found else None


def _head_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    """Yield the differences between two heads with the same view names."""
    yield from _data_differences(wanted["data"], stored["data"])
    if wanted["fold"]["name"] != stored["fold"]["name"]:
        yield Difference(f"fold {wanted['fold']['name']} is new")
    elif wanted["fold"] != stored["fold"] and wanted["data"]["fingerprint"] == stored["data"]["fingerprint"]:
        yield Difference(f"split: fold {wanted['fold']['name']} has other frames", stale=True)
    for name, view in wanted["views"].items():
        yield from _view_differences(view, stored["views"][name])
    yield from component_differences("fusion", wanted["fusion"], stored["fusion"])
    yield from _changed("recipe: ", wanted["recipe"], stored["recipe"])
    yield from _changed("training: ", _only(wanted, "revision"), _only(stored, "revision"), stale=True)
    if wanted["seed"] != stored["seed"]:
        yield Difference(f"seed {wanted['seed']} is new")
    yield from _changed("", _only(wanted, "device"), _only(stored, "device"))


def embedding_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    """Yield the differences between two embeddings of the same view."""
    yield from _data_differences(wanted["data"], stored["data"])
    yield from _view_differences(wanted, stored)


def cell_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    """Yield the differences between two ways to smooth and score."""
    yield from component_differences("smoother", wanted["smoother"], stored["smoother"])
    for stage, revision in wanted["revisions"].items():
        was = {"revision": stored["revisions"][stage]}
        yield from _changed(f"{stage}: ", {"revision": revision}, was, stale=True)
    yield from _changed("", _only(wanted, "recipe", "impute", "rates"), stored)


def _view_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    yield from component_differences("extractor", wanted["extractor"], stored["extractor"])
    yield from component_differences("backbone", wanted["backbone"], stored["backbone"])
    yield from _changed("embedding: ", _only(wanted, "revision"), _only(stored, "revision"), stale=True)
    how = "tokens", "precision", "device"
    yield from _changed("", _only(wanted, *how), _only(stored, *how))


def _data_differences(wanted: Record, stored: Record) -> Iterator[Difference]:
    name = f"data set {wanted['name']}"
    found = list(component_differences("data set", wanted, stored))
    yield from found
    if wanted["fingerprint"] == stored["fingerprint"]:
        return
    places, were = wanted["places"], stored["places"]
    if places != were:
        moved = [key for key in {**were, **places} if places.get(key) != were.get(key)]
        before, now = (", ".join(f"{key} {each.get(key, '(none)')}" for key in moved) for each in (were, places))
        yield Difference(f"{name}: other data ({before}, now {now})")
        return
    counts = f"{stored['frames']} -> {wanted['frames']} frames"
    if wanted["table"] != stored["table"] and not found:
        more = f", {stored['of']} -> {wanted['of']} frames" if wanted["of"] != stored["of"] else ""
        yield Difference(f"{name}: data changed (frames or labels{more})", stale=True)
    elif wanted["frames"] != stored["frames"]:
        yield Difference(f"{name}: other limit, {counts}")
    elif not found:
        yield Difference(f"{name}: data changed (images or embeddings)", stale=True)


def component_differences(kind: str, wanted: Record | None, stored: Record | None) -> Iterator[Difference]:
    """Yield the differences between two component records of one kind; None stands for no component."""
    if wanted is None or stored is None or wanted["name"] != stored["name"]:
        if wanted is not stored:
            yield Difference(f"{kind} {_name(stored)} -> {_name(wanted)}")
        return
    name = f"{kind} {wanted['name']}"
    yield from _option_differences(name, wanted["options"], stored["options"], wanted.get("files", []))
    versions = [record.get("distribution", "") for record in (stored, wanted)]  # not of a component within an option
    by = f" ({' -> '.join(_shortened(*versions))})" if all(versions) and versions[0] != versions[1] else ""
    if wanted["revision"] != stored["revision"]:  # its source has then changed as well, if only by that number
        yield Difference(f"{name}: revision {stored['revision']} -> {wanted['revision']}{by}", stale=True)
    elif wanted["source"] != stored["source"]:
        yield Difference(f"{name}: source code changed{by}", stale=True)
    for option, component in wanted.get("nested", {}).items():
        within = component_differences(option, component, stored.get("nested", {}).get(option))
        yield from (Difference(f"{name}: {each.text}", each.stale) for each in within)


def _option_differences(name: str, wanted: Record, stored: Record, files: list[str]) -> Iterator[Difference]:
    for option, now in wanted.items():
        if option not in stored:
            yield Difference(f"{name}: new option {option} = {_text(now)}", stale=True)
            continue
        was = stored[option]
        if now == was:
            continue
        if option in files and now and was:
            which = "" if option == "weights" else f" ({option})"
            yield Difference(f"{name}: weights file changed{which}", stale=True)
        else:
            before, after = (_text("a file" if option in files and each else each) for each in (was, now))
            yield Difference(f"{name}: {option} {before} -> {after}")
    for option in (option for option in stored if option not in wanted):
        yield Difference(f"{name}: option {option} was removed", stale=True)


def _shortened(before: str, after: str) -> tuple[str, str]:
    """``my_pkg 0.1`` and ``0.2``: name the distribution once if it is the same."""
    name, _, version = after.rpartition(" ")
    return before, version if before.rpartition(" ")[0] == name else after


def _only(record: Record, *names: str) -> dict[str, Any]:
    return {name: record[name] for name in names if name in record}


def _changed(prefix: str, wanted: Record, stored: Record, *, stale: bool = False) -> Iterator[Difference]:
    for name, value in wanted.items():
        if name not in stored or value != stored[name]:
            was = _text(stored[name]) if name in stored else "(none)"
            yield Difference(f"{prefix}{name} {was} -> {_text(value)}", stale)


def _name(record: Record | None) -> str:
    return record["name"] if record else "none"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
