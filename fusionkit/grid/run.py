"""Run a plan: embed, fit, then smooth and score row by row. Stored work is not done again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from fusionkit.contracts.option_types import NonNegative, Positive, Workers
from fusionkit.engine.embed import Embedding
from fusionkit.engine.source import Source
from fusionkit.errors import CellError, ConfigError, StorageError, is_interrupted, watched_interrupts
from fusionkit.grid.cleanup import remove_partial_files
from fusionkit.grid.executors import Executor, Processes, Serial, can_spawn, free_gpu_memory, visible_gpus, workers_on
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import HeadWork, Plan
from fusionkit.grid.progress import Progress
from fusionkit.grid.row import StoredHeads
from fusionkit.grid.scoring import Scoring, ScoringProcess, Step, can_fork
from fusionkit.grid.tasks import Code, EmbedTask, Failure, FitTask, StackTask, Task, single_thread, stacks
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.options import check_options
from fusionkit.storage.embeddings import SHARD, EmbeddingStore

if TYPE_CHECKING:
    from fusionkit.grid.ray_executor import RayExecutor

ExecutorName = Literal["serial", "processes", "ray"]
_POLL = 0.5  # s between checks of tasks that another run is working on
_STACKING = ("cuda",)  # kinds of device that one small head does not fill: seeds are trained together there
_RESUME = "finished work is saved; rerun the command to resume"


@dataclass(frozen=True)
class RunOptions:
    """Options of a run, checked against type and range. None of them changes a result.

    Attributes:
        device: of embedding and training: ``cpu``, ``cuda:0``, or ``cuda`` for all visible GPUs.
        executor: this process, a process pool, or Ray.
        ray_address: of a running Ray cluster; None starts Ray on this machine.
        workers: maximum number of processes, at most 1,024; 0 for one per core.
        cell_timeout: seconds per task; None for no limit.
        worker_memory: GiB per worker beyond its libraries; 0 for no limit, None for its share of the available memory
            (on a GPU: no limit). No effect if this process does the work itself.
        memory: GiB of features that a worker holds, the rest being read when needed; 0 for a quarter of the available
            memory, divided by the workers.
        fail_fast: stop at the first failure.
        retry_failed: retry what failed in an earlier run.

    Raises:
        ConfigError: with every value that is of another type or out of range.
    """

    provided: ClassVar[tuple[str, ...]] = ()

    device: str = "cpu"
    executor: ExecutorName = "serial"
    ray_address: str | None = None
    workers: Workers = 0
    cell_timeout: Positive | None = None
    worker_memory: NonNegative | None = None
    memory: NonNegative = 0.0
    fail_fast: bool = False
    retry_failed: bool = False

    def __post_init__(self) -> None:
        if problems := check_options(RunOptions, asdict(self)):
            raise ConfigError(problems)


@dataclass
class Outcome:
    """Outcome of a run.

    Attributes:
        embedded: number of embedded frames, counted per view.
        frames_reused: number of frames that were in the cache, counted per view.
        fitted: number of trained heads.
        heads_reused: number of heads that were stored.
        scored: number of cells that were smoothed and scored.
        reused: number of cells that were stored.
        failed: message by cell name.
        unreadable: a line per data set with unreadable images.
        notes: further information for the user.
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


@watched_interrupts()
def run(plan: Plan, folder: RunFolder, store: EmbeddingStore, options: RunOptions, progress: Progress) -> Outcome:
    """Run a plan. Interrupted at any time, it keeps what is finished.

    Raises:
        CellError: at the first failure, with ``fail_fast``.
        StorageError: if results cannot be written.
        KeyboardInterrupt: if the user interrupts.
    """
    with ExitStack() as stack:
        stack.callback(single_thread())
        job = _Run(plan, folder, store, options, progress)
        if job.cluster:
            stack.callback(job.cluster.close)
        return job.run()


def cluster(options: RunOptions, code: Code) -> RayExecutor | None:
    """Return the Ray executor, if the options ask for it. It connects at its first use."""
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
        remove_partial_files(self.folder.path, self.store.root)
        missing = [head for head in self.plan.heads.values() if not self.heads.has(head.id)]
        self.outcome.heads_reused = len(self.plan.heads) - len(missing)
        heads = [head for head in missing if self.options.retry_failed or not self.folder.failure(head.id)]
        failures = self._embed(heads + self._smoothed_by_embeddings())
        self.outcome.frames_reused = max(self._stored_frames() - self.outcome.embedded, 0)
        self._fit(heads, failures)
        self._score()
        self._collect_failures()
        self._collect_unreadable()
        return self.outcome

    # -- tasks -----------------------------------------------------------------------------------------------------

    def _do(self, tasks: Sequence[Task], done: Callable[[Task, Failure | None], None]) -> None:
        """Run tasks, waiting for those that another run is working on.

        Raises:
            CellError: at the first failure, with ``fail_fast``.
            StorageError: if results cannot be written.
        """
        while tasks:
            busy: list[Task] = []
            for task, failure in self._executor(tasks).run(tasks, self.progress.advance):
                _stop_if_interrupted()
                if failure and failure.busy:
                    busy.append(task)
                elif failure and failure.ready:
                    continue
                elif failure and failure.fatal:
                    raise StorageError(failure.message, hint=_RESUME)
                elif failure and self.options.fail_fast and not isinstance(task, StackTask):
                    raise CellError(f"{task.name}: {failure.message}")
                else:
                    done(task, failure)
            if busy:
                time.sleep(_POLL)
            tasks = busy

    def _executor(self, tasks: Sequence[Task]) -> Executor:
        """The chosen executor, or this process if a pool cannot start."""
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
        free, cores = free_gpu_memory(gpus), os.cpu_count() or 1
        workers = workers_on(gpus, self.options.workers, cores, free=free, embedding=embedding)
        return Processes(workers, self.options.cell_timeout, self.code, self.options.worker_memory, gpus)

    # -- embed -----------------------------------------------------------------------------------------------------

    def _smoothed_by_embeddings(self) -> list[HeadWork]:
        """Heads of rows with cells to score by a smoother that needs embeddings."""
        return [
            row.heads[0]
            for row in self.plan.rows
            if SMOOTHERS.get(row.smoother.name).reads_embeddings()
            and any(self.folder.read_cell(row.cell_id(head)) is None for head in row.heads)
        ]

    def _embed(self, heads: list[HeadWork]) -> dict[str, Failure]:
        """Embed what the heads need. Returns failures by embedding key."""
        groups: dict[tuple[int, str], tuple[Source, dict[str, Embedding]]] = {}
        for head in heads:
            source = head.fold_data.source
            for embedding in head.embeddings.values():
                group = groups.setdefault((id(source), str(embedding.extractor)), (source, {}))
                group[1].setdefault(embedding.key, embedding)
        tasks = [task for source, wanted in groups.values() for task in self._embed_tasks(source, wanted.values())]
        failed: list[EmbedTask] = []
        failures: dict[str, Failure] = {}

        def done(task: Task, failure: Failure | None) -> None:
            assert isinstance(task, EmbedTask)
            if failure and len(task.wanted) == 1:
                failures[task.wanted[0].key] = failure
            elif failure:
                failed.append(task)
            else:
                self.outcome.embedded += task.frames * len(task.wanted)

        if tasks:
            total = sum(task.frames for task in tasks)
            with self.progress.stage("embed", total, "frames"):
                self._do(tasks, done)
                # Failed tasks are repeated view by view, so that only the broken views are lost.
                self._do([_of_one_view(task, item) for task in failed for item in task.wanted], done)
        return failures

    def _stored_frames(self) -> int:
        """Number of the plan's frames in the cache, counted per view."""
        wanted = {
            embedding.key: len(head.fold_data.source.table)
            for head in self.plan.heads.values()
            for embedding in head.embeddings.values()
        }
        return sum(self.store.stored_rows(key, rows) for key, rows in wanted.items())

    def _embed_tasks(self, source: Source, wanted: Iterable[Embedding]) -> list[EmbedTask]:
        """One task per shard that some embedding lacks."""
        missing: dict[int, list[Embedding]] = {}
        for embedding in wanted:
            for shard in self.store.missing(embedding.key, len(source.table), verify=True):
                missing.setdefault(shard, []).append(embedding)
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
            for shard, items in sorted(missing.items())
        ]

    # -- fit -------------------------------------------------------------------------------------------------------

    def _fit(self, heads: list[HeadWork], failures: dict[str, Failure]) -> None:
        if not heads:
            return
        embedded: list[HeadWork] = []
        for head in heads:
            errors = [failures[item.key] for item in head.embeddings.values() if item.key in failures]
            if errors:
                self._failed(head.id, head.name, errors[0])
            else:
                embedded.append(head)

        alone: list[FitTask] = []

        def done(task: Task, failure: Failure | None) -> None:
            assert not isinstance(task, EmbedTask)
            if isinstance(task, FitTask) and failure:
                self._failed(task.head, task.name, failure)
            elif isinstance(task, FitTask):
                self.outcome.fitted += 1
            elif failure:
                alone.extend(task.heads)
                note = f"{task.heads[0].fusion}: its seeds were trained one at a time, not together: {failure.message}"
                self.outcome.notes += [note] if note not in self.outcome.notes else []
            else:
                self.outcome.fitted += len(task.heads)
                self.progress.advance(len(task.heads))

        for name, head in {_fold_name(head): head for head in embedded}.items():
            self.folder.write_fold(name, head.fold_data.rows)
        with self.progress.stage("fit", len(embedded), "heads"):
            self.progress.reused(self.outcome.heads_reused, "heads")
            # Heads on the same features follow each other, so that a process reads them once.
            ordered = sorted(embedded, key=lambda head: (head.fold_data.fold.name, list(head.embeddings)))
            tasks = [self._fit_task(head) for head in ordered]
            self._do(stacks(tasks) if self.options.device.partition(":")[0] in _STACKING else tasks, done)
            self._do(alone, done)

    def _fit_task(self, head: HeadWork) -> FitTask:
        return FitTask(
            name=head.name,
            head=head.id,
            folder=self.folder.path,
            cache=self.store.root,
            keys=tuple((name, embedding.key) for name, embedding in head.embeddings.items()),
            fold=_fold_name(head),
            tasks=head.fold_data.members,
            fusion=head.fusion,
            recipe=head.recipe,
            seed=head.seed,
            device=self.options.device,
            memory=self.options.memory,
            workers=1 if self.options.executor == "serial" else self.options.workers,
            record=head.record,
            uses=head.uses,
            labels=head.fold_data.labels,
        )

    # -- smooth and score ------------------------------------------------------------------------------------------

    def _score(self) -> None:
        if self.cluster:
            self.cluster.close()  # a process without Ray's threads is forked more safely
        grid = self.folder.load_grid()
        assert grid is not None
        entries = {entry["id"]: entry for entry in grid["rows"]}
        for row in self.plan.rows:
            if row.id not in entries:
                raise CellError(f"{row.axes.name}: a run with other code has replaced this row", hint="run again")
        rows, memory, fail_fast = self.plan.rows, self.options.memory, self.options.fail_fast
        scoring = Scoring(rows, entries, self.heads, self.store, memory, fail_fast)
        # The process is forked before a progress bar starts a thread.
        with self._scored(scoring) as steps, self.progress.stage("score", len(rows), "rows"):
            for step in steps:
                _stop_if_interrupted()
                self._count(step)

    def _scored(self, scoring: Scoring) -> AbstractContextManager[Iterator[Step]]:
        """Steps of scoring in a forked process, or in this one."""
        if self.options.executor == "serial" or not can_fork(clustered=self.cluster is not None):
            return closing(scoring.steps())
        return ScoringProcess(scoring, self.options.cell_timeout, self.options.worker_memory)

    def _count(self, step: Step) -> None:
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

    # -- failures and warnings -------------------------------------------------------------------------------------

    def _failed(self, task: str, name: str, failure: Failure) -> None:
        message = self.folder.write_failure(task, failure.message, failure.trace)
        self.progress.failed(name, message)

    def _collect_failures(self) -> None:
        """Collect the failures of cells without a score. A stored failure may be older than a stored result."""
        for row in self.plan.rows:
            folds = len({head.fold_data.fold.name for head in row.heads}) > 1
            for head in row.heads:
                cell = row.cell_id(head)
                name = f"{row.axes.name}/{head.seed}" + (f"/{head.fold_data.fold.name}" if folds else "")
                message = self.folder.failure(cell) or self.folder.failure(head.id)
                if message and self.folder.read_cell(cell) is None:
                    self.outcome.failed[name] = message
                elif message and not self.heads.has(head.id):
                    # The cell has the head of another candidate of the sweep, chosen among fewer.
                    self.outcome.notes.append(f"{name}: {head.candidate} failed and was not compared: {message}")

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


def _stop_if_interrupted() -> None:
    """Raise the KeyboardInterrupt that a component has caught."""
    if is_interrupted():
        raise KeyboardInterrupt


def _fold_name(head: HeadWork) -> str:
    data = head.fold_data
    return "-".join(each[:8] for each in (data.source.fingerprint, data.fold.digest, data.labels_digest))


def _of_one_view(task: EmbedTask, embedding: Embedding) -> EmbedTask:
    return replace(task, name=f"embedding {embedding}", wanted=(embedding,))
