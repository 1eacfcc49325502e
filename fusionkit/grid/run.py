"""Run: do what a plan still lacks, each piece once: embed, fit, then smooth and score family by family."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from fusionkit.engine.embed import Embedding, backbone_cost
from fusionkit.engine.embeddings import SHARD, EmbeddingStore
from fusionkit.engine.source import Source
from fusionkit.errors import CellError, StorageError
from fusionkit.grid.executors import Executor, Processes, Serial, can_spawn
from fusionkit.grid.family import FamilyScorer
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.lease import waiting_lease
from fusionkit.grid.plan import HeadWork, Plan
from fusionkit.grid.progress import Progress
from fusionkit.grid.tasks import Code, EmbedTask, Failure, FitTask, Task, single_thread
from fusionkit.registry import SMOOTHERS

if TYPE_CHECKING:
    from fusionkit.grid.ray_executor import RayExecutor

_POLL = 0.5  # s between looks at work that another run is at


@dataclass(frozen=True)
class RunOptions:
    """How a plan is carried out; none of it changes a result.

    Attributes:
        device: where embedding and training run: ``cpu``, ``cuda:0``.
        executor: who does the work.
        ray_address: of a running Ray cluster, for the executor ``ray``; None starts Ray on this machine.
        workers: processes at most; 0 for one a core.
        cell_timeout: seconds that one piece of work may take; None for no limit.
        fail_fast: stop at the first failure.
        retry_failed: try again what failed in an earlier run.
    """

    device: str = "cpu"
    executor: Literal["serial", "processes", "ray"] = "serial"
    ray_address: str | None = None
    workers: int = 0
    cell_timeout: float | None = None
    fail_fast: bool = False
    retry_failed: bool = False


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        embedded: frames that went through a backbone, each view counted.
        fitted: heads trained.
        scored: cells smoothed and scored.
        reused: cells that stood ready.
        failed: cell name to message.
        unreadable: a line for each data set with frames that gave no image.
        notes: what else a user should know.
    """

    embedded: int = 0
    fitted: int = 0
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

    return RayExecutor(options.ray_address, options.workers, options.cell_timeout, code)


class _Run:
    def __init__(
        self, plan: Plan, folder: RunFolder, store: EmbeddingStore, options: RunOptions, progress: Progress
    ) -> None:
        self.plan = plan
        self.folder = folder
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
        lacking = [head for head in self.plan.heads.values() if not self.folder.has_head(head.id)]
        heads = [head for head in lacking if self.options.retry_failed or not self.folder.failure(head.id)]
        broken = self._embed(heads + self._smoothed_by_embeddings())
        self._fit(heads, broken)
        self._score()
        self._collect_failures()
        self._collect_unreadable()
        return self.outcome

    def _executor(self, tasks: int) -> Executor:
        """The chosen executor, or this process where a pool would not pay or could not start."""
        if self.cluster:
            return self.cluster
        workers = min(self.options.workers or os.cpu_count() or 1, tasks)
        alone = workers < 2 and self.options.cell_timeout is None
        if self.options.executor == "serial" or alone:
            return Serial()
        if not can_spawn():
            note = 'working in one process: a notebook, or a script without if __name__ == "__main__", cannot spawn'
            if note not in self.outcome.notes:
                self.outcome.notes.append(note)
            return Serial()
        return Processes(workers, self.options.cell_timeout, self.code)

    def _do(self, tasks: Sequence[Task], done: Callable[[Task, Failure | None], None]) -> None:
        """Carry out tasks; what another run is at is waited for. Stop at the first failure if so asked."""
        while tasks:
            elsewhere: list[Task] = []
            for task, failure in self._executor(len(tasks)).run(tasks, self.progress.advance):
                if failure and failure.busy:
                    elsewhere.append(task)
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
            family.heads[0]
            for family in self.plan.families
            if SMOOTHERS.get(family.smoother.name).needs == "embeddings"
            and any(self.folder.read_cell(family.cell_id(head)) is None for head in family.heads)
        ]

    def _embed(self, heads: list[HeadWork]) -> dict[str, Failure]:
        """Make what the heads need; the keys of the embeddings that failed, with why."""
        groups: dict[tuple[int, str], tuple[Source, dict[str, Embedding]]] = {}
        for head in heads:
            source = head.trial.source
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

        if tasks:
            total = sum(task.frames for task in tasks)
            with self.progress.stage("embed", total, "frames"):
                self._do(tasks, self._counted(done))
                # What failed is done again view by view, so that only the broken views are lost.
                self._do([_alone(task, item) for task in failed for item in task.wanted], done)
        return broken

    def _counted(self, done: Callable[[Task, Failure | None], None]) -> Callable[[Task, Failure | None], None]:
        def told(task: Task, failure: Failure | None) -> None:
            assert isinstance(task, EmbedTask)
            self.outcome.embedded += task.frames * len(task.wanted)
            done(task, failure)

        return told

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

        for name, head in {_rows_name(head): head for head in sound}.items():
            self.folder.write_rows(name, head.trial.rows)
        with self.progress.stage("fit", len(sound), "heads"):
            # Heads on the same features follow each other, so that a process reads them once.
            ordered = sorted(sound, key=lambda head: (head.trial.fold.name, list(head.embeddings)))
            self._do([self._fit_task(head) for head in ordered], done)

    def _fit_task(self, head: HeadWork) -> FitTask:
        return FitTask(
            name=head.name,
            head=head.id,
            folder=self.folder.path,
            cache=self.store.root,
            keys=tuple((name, embedding.key) for name, embedding in head.embeddings.items()),
            rows=_rows_name(head),
            classes=head.trial.task.num_classes,
            fusion=head.fusion,
            recipe=head.recipe,
            seed=head.seed,
            device=self.options.device,
        )

    # -- smooth and score ------------------------------------------------------------------------------------------

    def _score(self) -> None:
        grid = self.folder.load_grid()
        assert grid is not None
        records = {record["id"]: record for record in grid["families"]}
        families = self.plan.families
        with self.progress.stage("score", len(families), "rows"):
            for family in families:
                scorer = FamilyScorer(family, records[family.id], self.folder, self.store, _costs(family.heads[0]))
                with waiting_lease(self.folder.path / "leases" / f"score-{family.id}"):
                    for cell, task in scorer.tasks():
                        if self._guarded(cell, family.axes.name, task):
                            self.outcome.scored += 1
                self.outcome.reused += scorer.reused
                self.progress.advance()

    def _guarded(self, work: str, name: str, task: Callable[[], Any]) -> bool:
        """Run one piece here; a failure is written down and does not stop the others."""
        try:
            task()
        except StorageError:
            raise
        except Exception as error:
            failure = Failure.of(error)
            if self.options.fail_fast:
                raise CellError(f"{name}: {failure.message}") from error
            self._failed(work, name, failure)
            return False
        return True

    # -- afterwards ------------------------------------------------------------------------------------------------

    def _failed(self, work: str, name: str, failure: Failure) -> None:
        self.folder.write_failure(work, failure.message, failure.trace)
        self.progress.failed(name, failure.message)

    def _collect_failures(self) -> None:
        """What failed, of what is still not there: a note may outlive a kill that came after the work was done."""
        for family in self.plan.families:
            folds = len({head.trial.fold.name for head in family.heads}) > 1
            for head in family.heads:
                cell = family.cell_id(head)
                name = f"{family.axes.name}/{head.seed}" + (f"/{head.trial.fold.name}" if folds else "")
                message = self.folder.failure(cell) or self.folder.failure(head.id)
                if message and self.folder.read_cell(cell) is None:
                    self.outcome.failed[name] = message
                elif message and not self.folder.has_head(head.id):
                    # Another recipe of the sweep stands for it: the row is there, but was chosen among fewer.
                    self.outcome.notes.append(f"{name}: recipe {head.recipe} failed and was not compared: {message}")

    def _collect_unreadable(self) -> None:
        keys = {
            str(head.trial.source.spec): (embedding.key, head.trial.source)
            for head in self.plan.heads.values()
            for embedding in head.embeddings.values()
        }
        for spec, (key, source) in keys.items():
            names = self.store.unreadable(key, len(source.table))
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                line = f"{spec}: {len(names)} of {len(source.table)} frames, {', '.join(names[:3])}{more}"
                self.outcome.unreadable.append(line)


def _rows_name(head: HeadWork) -> str:
    return f"{head.trial.source.fingerprint[:8]}-{head.trial.fold.digest[:8]}"


def _alone(task: EmbedTask, embedding: Embedding) -> EmbedTask:
    return replace(task, name=f"embedding {embedding}", wanted=(embedding,))


def _costs(head: HeadWork) -> tuple[int, float]:
    """(parameters, GFLOP) of the backbones behind a head: weights count once, work once a view."""
    backbones = [embedding.backbone for embedding in head.embeddings.values() if embedding.backbone]
    costs = {str(spec): backbone_cost(spec) for spec in backbones}
    return sum(params for params, _ in costs.values()), sum(costs[str(spec)][1] for spec in backbones)
