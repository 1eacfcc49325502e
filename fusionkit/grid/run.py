"""Run: do what a plan still lacks, each piece once: embed, fit, then smooth and score row by row."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from fusionkit.engine.embed import Embedding
from fusionkit.engine.source import Source
from fusionkit.errors import CellError, StorageError
from fusionkit.grid.cleanup import remove_partial_files
from fusionkit.grid.executors import Executor, Processes, Serial, can_spawn, visible_gpus, workers_on
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import HeadWork, Plan
from fusionkit.grid.progress import Progress
from fusionkit.grid.row import StoredHeads
from fusionkit.grid.scoring import Scoring, ScoringProcess, Step, can_fork
from fusionkit.grid.tasks import Code, EmbedTask, Failure, FitTask, Task, single_thread
from fusionkit.registry import SMOOTHERS
from fusionkit.storage.embeddings import SHARD, EmbeddingStore

if TYPE_CHECKING:
    from fusionkit.grid.ray_executor import RayExecutor

_POLL = 0.5  # s between looks at work that another run is at


@dataclass(frozen=True)
class RunOptions:
    """How a plan is carried out; none of it changes a result.

    Attributes:
        device: where embedding and training run: ``cpu``, ``cuda:0``, ``cuda`` for all GPUs that are visible.
        executor: who does the work.
        ray_address: of a running Ray cluster, for the executor ``ray``; None starts Ray on this machine.
        workers: processes at most; 0 for one a core.
        cell_timeout: seconds that one piece of work may take; None for no limit.
        worker_memory: GiB that a worker may use beside its libraries; 0 for no limit, None for its share of what the
            machine has available (on a GPU: no limit). Without effect where this process does the work itself.
        memory: GiB of features that a worker holds at most, the rest being read as it is needed; 0 for a quarter of
            what the machine has available, divided by the workers.
        fail_fast: stop at the first failure.
        retry_failed: try again what failed in an earlier run.
    """

    device: str = "cpu"
    executor: Literal["serial", "processes", "ray"] = "serial"
    ray_address: str | None = None
    workers: int = 0
    cell_timeout: float | None = None
    worker_memory: float | None = None
    memory: float = 0.0
    fail_fast: bool = False
    retry_failed: bool = False


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        embedded: frames that went through a backbone, each view counted.
        frames_reused: frames that stood ready in the cache, likewise.
        fitted: heads trained.
        heads_reused: heads that stood ready.
        scored: cells smoothed and scored.
        reused: cells that stood ready.
        failed: cell name to message.
        unreadable: a line for each data set with frames that gave no image.
        notes: what else a user should know.
    """

    embedded: int = 0
    frames_reused: int = 0
    fitted: int = 0
    heads_reused: int = 0
    scored: int = 0
    reused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run(plan: Plan, folder: RunFolder, store: EmbeddingStore, options: RunOptions, progress: Progress) -> Outcome:
    """Carry out a plan; what is stored already is not done again.

    Raises:
        CellError: at the first failure, with ``fail_fast``.
        StorageError: if results cannot be written; what is finished is kept.
        KeyboardInterrupt: as it comes; all finished pieces are kept.
    """
    give_back = single_thread()
    try:
        return _Run(plan, folder, store, options, progress).run()
    finally:
        give_back()


def cluster(options: RunOptions, code: Code) -> RayExecutor | None:
    """The Ray executor, if it was asked for; it connects when it is first used, or told to."""
    if options.executor != "ray":
        return None
    from fusionkit.grid.ray_executor import RayExecutor

    return RayExecutor(options.ray_address, options.workers, options.cell_timeout, code, memory=options.worker_memory)


class _Run:
    def __init__(
        self, plan: Plan, folder: RunFolder, store: EmbeddingStore, options: RunOptions, progress: Progress
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.heads = StoredHeads(folder)
        self.store = store
        self.options = options
        self.progress = progress
        self.outcome = Outcome()
        self.code = Code(plan.grid.plugins, plan.grid.modules)
        self.cluster = cluster(options, self.code)

    def run(self) -> Outcome:
        try:
            return self._run()
        finally:
            if self.cluster:
                self.cluster.close()

    def _run(self) -> Outcome:
        remove_partial_files(self.folder.path, self.store.root)
        lacking = [head for head in self.plan.heads.values() if not self.heads.has(head.id)]
        self.outcome.heads_reused = len(self.plan.heads) - len(lacking)
        heads = [head for head in lacking if self.options.retry_failed or not self.folder.failure(head.id)]
        broken = self._embed(heads + self._smoothed_by_embeddings())
        self.outcome.frames_reused = max(self._frames_there() - self.outcome.embedded, 0)
        self._fit(heads, broken)
        self._score()
        self._collect_failures()
        self._collect_unreadable()
        return self.outcome

    def _executor(self, tasks: Sequence[Task]) -> Executor:
        """The chosen executor, or this process where a pool could not start."""
        if self.cluster:
            return self.cluster
        if self.options.executor == "serial":
            return Serial()
        if not can_spawn():
            note = 'working in one process: a notebook, or a script without if __name__ == "__main__", cannot spawn'
            if note not in self.outcome.notes:
                self.outcome.notes.append(note)
            return Serial()
        gpus = visible_gpus(self.options.device)
        embedding = isinstance(tasks[0], EmbedTask)
        workers = workers_on(gpus, self.options.workers, os.cpu_count() or 1, embedding=embedding)
        return Processes(workers, self.options.cell_timeout, self.code, self.options.worker_memory, gpus)

    def _do(self, tasks: Sequence[Task], done: Callable[[Task, Failure | None], None]) -> None:
        """Carry out tasks; what another run is at is waited for. Stop at the first failure if so asked."""
        while tasks:
            elsewhere: list[Task] = []
            for task, failure in self._executor(tasks).run(tasks, self.progress.advance):
                if failure and failure.busy:
                    elsewhere.append(task)
                elif failure and failure.ready:
                    continue
                elif failure and failure.fatal:
                    raise StorageError(failure.message, hint="what is finished is kept; the same command goes on")
                elif failure and self.options.fail_fast:
                    raise CellError(f"{task.name}: {failure.message}")
                else:
                    done(task, failure)
            if elsewhere:
                time.sleep(_POLL)
            tasks = elsewhere

    # -- embed -----------------------------------------------------------------------------------------------------

    def _smoothed_by_embeddings(self) -> list[HeadWork]:
        """Heads whose cells are still to be made by a smoother that looks at embeddings."""
        return [
            row.heads[0]
            for row in self.plan.rows
            if SMOOTHERS.get(row.smoother.name).needs == "embeddings"
            and any(self.folder.read_cell(row.cell_id(head)) is None for head in row.heads)
        ]

    def _embed(self, heads: list[HeadWork]) -> dict[str, Failure]:
        """Make what the heads need; the keys of the embeddings that failed, with why."""
        groups: dict[tuple[int, str], tuple[Source, dict[str, Embedding]]] = {}
        for head in heads:
            source = head.fold_data.source
            for embedding in head.embeddings.values():
                group = groups.setdefault((id(source), str(embedding.extractor)), (source, {}))
                group[1].setdefault(embedding.key, embedding)
        tasks = [task for source, wanted in groups.values() for task in self._embed_tasks(source, wanted.values())]
        failed: list[EmbedTask] = []
        broken: dict[str, Failure] = {}

        def done(task: Task, failure: Failure | None) -> None:
            assert isinstance(task, EmbedTask)
            if failure and len(task.wanted) == 1:
                broken[task.wanted[0].key] = failure
            elif failure:
                failed.append(task)
            else:
                self.outcome.embedded += task.frames * len(task.wanted)

        if tasks:
            total = sum(task.frames for task in tasks)
            with self.progress.stage("embed", total, "frames"):
                self._do(tasks, done)
                # What failed is done again view by view, so that only the broken views are lost.
                self._do([_alone(task, item) for task in failed for item in task.wanted], done)
        return broken

    def _frames_there(self) -> int:
        """Frames of the plan's embeddings that lie in the cache, each view counted."""
        wanted = {
            embedding.key: len(head.fold_data.source.table)
            for head in self.plan.heads.values()
            for embedding in head.embeddings.values()
        }
        return sum(self.store.stored_rows(key, rows) for key, rows in wanted.items())

    def _embed_tasks(self, source: Source, wanted: Iterable[Embedding]) -> list[EmbedTask]:
        """A task for each shard that some embedding lacks."""
        lacking: dict[int, list[Embedding]] = {}
        for embedding in wanted:
            for shard in self.store.missing(embedding.key, len(source.table), verify=True):
                lacking.setdefault(shard, []).append(embedding)
        return [
            EmbedTask(
                name=f"embedding {', '.join(map(str, items))}, shard {shard}",
                dataset=source.spec,
                limit=self.plan.grid.limit,
                fingerprint=source.fingerprint,
                wanted=tuple(items),
                shard=shard,
                frames=min(len(source.table) - shard * SHARD, SHARD),
                cache=self.store.root,
                device=self.options.device,
            )
            for shard, items in sorted(lacking.items())
        ]

    # -- fit -------------------------------------------------------------------------------------------------------

    def _fit(self, heads: list[HeadWork], broken: dict[str, Failure]) -> None:
        if not heads:
            return
        sound: list[HeadWork] = []
        for head in heads:
            errors = [broken[item.key] for item in head.embeddings.values() if item.key in broken]
            if errors:
                self._failed(head.id, head.name, errors[0])
            else:
                sound.append(head)

        def done(task: Task, failure: Failure | None) -> None:
            assert isinstance(task, FitTask)
            if failure:
                self._failed(task.head, task.name, failure)
            else:
                self.outcome.fitted += 1

        for name, head in {_fold_name(head): head for head in sound}.items():
            self.folder.write_fold(name, head.fold_data.rows)
        with self.progress.stage("fit", len(sound), "heads"):
            self.progress.reused(self.outcome.heads_reused, "heads")
            # Heads on the same features follow each other, so that a process reads them once.
            ordered = sorted(sound, key=lambda head: (head.fold_data.fold.name, list(head.embeddings)))
            self._do([self._fit_task(head) for head in ordered], done)

    def _fit_task(self, head: HeadWork) -> FitTask:
        return FitTask(
            name=head.name,
            head=head.id,
            folder=self.folder.path,
            cache=self.store.root,
            keys=tuple((name, embedding.key) for name, embedding in head.embeddings.items()),
            fold=_fold_name(head),
            classes=head.fold_data.task.num_classes,
            fusion=head.fusion,
            recipe=head.recipe,
            seed=head.seed,
            device=self.options.device,
            memory=self.options.memory,
            workers=1 if self.options.executor == "serial" else self.options.workers,
            record=head.record,
            uses=head.uses,
        )

    # -- smooth and score ------------------------------------------------------------------------------------------

    def _score(self) -> None:
        if self.cluster:
            self.cluster.close()  # a process without Ray's threads is forked more safely
        grid = self.folder.load_grid()
        assert grid is not None
        records = {record["id"]: record for record in grid["rows"]}
        for row in self.plan.rows:
            if row.id not in records:
                raise CellError(
                    f"{row.axes.name}: a run with other code has taken its place meanwhile", hint="run again"
                )
        rows, memory, fail_fast = self.plan.rows, self.options.memory, self.options.fail_fast
        scoring = Scoring(rows, records, self.heads, self.store, memory, fail_fast)
        # The process is there before a progress bar starts a thread.
        with self._scored(scoring) as steps, self.progress.stage("score", len(rows), "rows"):
            for step in steps:
                self._take(step)

    def _scored(self, scoring: Scoring) -> AbstractContextManager[Iterator[Step]]:
        """The steps of scoring: in a process that may die, or in this one."""
        if self.options.executor == "serial" or not can_fork(clustered=self.cluster is not None):
            return closing(scoring.steps())
        return ScoringProcess(scoring, self.options.cell_timeout, self.options.worker_memory)

    def _take(self, step: Step) -> None:
        if step.failure:
            name = self.plan.rows[step.row].axes.name
            if self.options.fail_fast:
                raise CellError(f"{name}: {step.failure.message}")
            self._failed(step.cell, name, step.failure)
        elif step.state == "scored":
            self.outcome.scored += 1
        elif step.state == "finished":
            self.outcome.reused += step.reused
            self.progress.reused(step.reused, "cells")
            self.progress.advance()

    # -- afterwards ------------------------------------------------------------------------------------------------

    def _failed(self, work: str, name: str, failure: Failure) -> None:
        self.folder.write_failure(work, failure.message, failure.trace)
        self.progress.failed(name, failure.message)

    def _collect_failures(self) -> None:
        """What failed, of what is still not there: a note may outlive a kill that came after the work was done."""
        for row in self.plan.rows:
            folds = len({head.fold_data.fold.name for head in row.heads}) > 1
            for head in row.heads:
                cell = row.cell_id(head)
                name = f"{row.axes.name}/{head.seed}" + (f"/{head.fold_data.fold.name}" if folds else "")
                message = self.folder.failure(cell) or self.folder.failure(head.id)
                if message and self.folder.read_cell(cell) is None:
                    self.outcome.failed[name] = message
                elif message and not self.heads.has(head.id):
                    # Another recipe of the sweep stands for it: the row is there, but was chosen among fewer.
                    self.outcome.notes.append(f"{name}: recipe {head.recipe} failed and was not compared: {message}")

    def _collect_unreadable(self) -> None:
        keys = {
            str(head.fold_data.source.spec): (embedding.key, head.fold_data.source)
            for head in self.plan.heads.values()
            for embedding in head.embeddings.values()
        }
        for spec, (key, source) in keys.items():
            names = self.store.unreadable(key, len(source.table))
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                line = f"{spec}: {len(names)} of {len(source.table)} frames, {', '.join(names[:3])}{more}"
                self.outcome.unreadable.append(line)


def _fold_name(head: HeadWork) -> str:
    return f"{head.fold_data.source.fingerprint[:8]}-{head.fold_data.fold.digest[:8]}"


def _alone(task: EmbedTask, embedding: Embedding) -> EmbedTask:
    return replace(task, name=f"embedding {embedding}", wanted=(embedding,))
