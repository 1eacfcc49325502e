"""Tasks that any process can run: plain data in, stored results out. No task holds a test label."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionkit.config.recipe import Recipe
from fusionkit.config.splits import check_training_labels
from fusionkit.contracts import task as prediction
from fusionkit.engine.embed import Embedding, embed
from fusionkit.engine.features import FoldFeatures, FoldRows, load_clip_features, load_features
from fusionkit.engine.joint_task import Member, built
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import (
    DataError,
    FusionKitError,
    StorageError,
    cause_of,
    component_errors,
    out_of_memory,
    shortened,
)
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.memory import ceiling, ceiling_message, feature_limit, headroom, peak_memory
from fusionkit.grid.output import bounded_output
from fusionkit.registry import BACKBONES, EXTRACTORS, FUSIONS
from fusionkit.registry.plugin_file import load_module, load_plugin_file
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.storage.lease import lease, leases
from fusionkit.storage.record import Record, Versions, check_unchanged, different

if TYPE_CHECKING:
    from fusionkit.engine.fit import Head


@dataclass(frozen=True)
class Code:
    """Plugin files and modules that a process imports, so that their components are registered."""

    plugins: tuple[str, ...]
    modules: tuple[str, ...]

    def load(self) -> None:
        """Import what is not imported yet.

        Raises:
            FusionKitError: if an import fails.
        """
        for path in self.plugins:
            load_plugin_file(path)
        for name in self.modules:
            load_module(name)


@dataclass(frozen=True)
class Failure:
    """Reason why a task has no result.

    Attributes:
        message: one line.
        trace: the traceback, or what is known instead.
        retryable: its process died or ran out of memory; the task itself may be sound.
        busy: no error: another run is working on the task.
        ready: no error: another run has done the task.
        fatal: no task can succeed: results cannot be written.
    """

    message: str
    trace: str
    retryable: bool = False
    busy: bool = False
    ready: bool = False
    fatal: bool = False

    @classmethod
    def of(cls, error: BaseException, output: str = "") -> Failure:
        """Return the failure for an exception, with what its task printed if that was not shown whole."""
        trace = "".join(traceback.format_exception(error)) + (f"\nOutput:\n{output}" if output else "")
        memory_error = next((cause for cause in _causes(error) if out_of_memory(cause)), None)
        message, limit = one_line(error), ceiling()
        if memory_error and limit and type(memory_error).__name__ != "OutOfMemoryError":  # which is that of a GPU
            message = f"{ceiling_message(limit)}: {message}"
        return cls(message, trace, retryable=memory_error is not None, fatal=isinstance(error, StorageError))

    @classmethod
    def late(cls, limit: float, stderr: str) -> Failure:
        """Return the failure of a task that exceeded the limit in seconds, with the standard error of its process."""
        message = f"took longer than {limit:g} s (--cell-timeout) and was stopped"
        return cls(message, _trace(message, stderr))

    @classmethod
    def died(cls, exitcode: int, stderr: str, memory: float | None) -> Failure:
        """Return the failure of a task whose process died.

        Args:
            exitcode: of the process; negative for a signal.
            stderr: standard error of the process.
            memory: its ceiling in GiB, or None.
        """
        how = f"signal {-exitcode}" if exitcode < 0 else f"exit code {exitcode}"
        message = f"its process died ({how})"
        if memory and "bad_alloc" in stderr:
            message = f"{ceiling_message(memory)}, and {message}"
        return cls(message, _trace(message, stderr), retryable=True)


BUSY = Failure("another run is working on it", "", busy=True)
READY = Failure("another run has done it", "", ready=True)


@dataclass(frozen=True)
class EmbedTask:
    """One shard of some embeddings of one data set. Each frame is read once for all of them.

    Attributes:
        name: for messages.
        fingerprint: of the data when the work was planned.
        frames: number of frames of the shard.
    """

    name: str
    dataset: Spec
    limit: int | None
    fingerprint: str
    wanted: tuple[Embedding, ...]
    shard: int
    frames: int
    cache: Path
    device: str

    @property
    def steps(self) -> int:
        """Number of progress steps: frames."""
        return self.frames

    def run(self, advance: Callable[[int], None]) -> Failure | None:
        """Compute the shard of every embedding that no other run is working on.

        Args:
            advance: called with the number of frames done.
        """
        paths = [self.cache / "leases" / f"{item.key}-{self.shard:05d}" for item in self.wanted]
        with leases(paths) as acquired:
            free = [item for item, own in zip(self.wanted, acquired, strict=True) if own]
            if free:
                source = _source(self.dataset, self.limit, self.fingerprint)
                for item in free:
                    _check_unchanged(item)
                embed(source, free, [self.shard], EmbeddingStore(self.cache), self.device, advance)
        return None if len(free) == len(self.wanted) else BUSY


@dataclass(frozen=True)
class FitTask:
    """One head.

    Attributes:
        name: for messages.
        keys: embedding key by view name, main view first.
        tasks: the prediction tasks that it learns.
        fold: id of the fold's frames in the run folder.
        record: what the head's id depends on, stored with it.
        uses: what the head needs on new frames, stored with it.
        labels: what has one label: ``frame`` or ``clip``.
        memory: GiB of features to hold; 0 for this process's share of the available memory.
        workers: processes that share the machine; 0 for one per core.
    """

    name: str
    head: str
    folder: Path
    cache: Path
    keys: tuple[tuple[str, str], ...]
    fold: str
    tasks: tuple[Member, ...]
    fusion: Spec
    recipe: Recipe
    seed: int
    device: str
    record: Record = field(compare=False, repr=False)
    uses: dict[str, Any] = field(compare=False, repr=False)
    labels: str = "frame"
    memory: float = 0.0
    workers: int = 0

    @property
    def steps(self) -> int:
        """Number of progress steps: heads."""
        return 1

    def run(self, advance: Callable[[int], None]) -> Failure | None:
        """Train and store the head, unless another run does or has done so."""
        folder = RunFolder(self.folder)
        with lease(self.folder / "leases" / self.head) as acquired:
            if not acquired:
                return BUSY
            if folder.has_head(self.head):
                return READY
            self._train(folder)
        return None

    def _train(self, folder: RunFolder) -> None:
        from fusionkit.engine.fit import fit  # imports torch, which a spawned process loads before its first task

        started = time.perf_counter()
        rows, features = self.inputs()
        head = fit(features, rows, self.built_task(), self.fusion, self.recipe, self.seed, self.device)
        self.store(folder, head, rows, features, time.perf_counter() - started)

    def inputs(self) -> tuple[FoldRows, FoldFeatures]:
        """Return rows and features of the fold, after a check of code and classes."""
        check_unchanged(FUSIONS, self.fusion, self.record["fusion"])
        rows, features = self._features()
        check_training_labels(self.record["fold"]["name"], self.built_task(), rows.train_label)
        return rows, features

    def built_task(self) -> prediction.Task:
        """Return the prediction task, or all of several."""
        return built(self.tasks, self.recipe.task_weighting)

    def store(self, folder: RunFolder, head: Head, rows: FoldRows, features: FoldFeatures, seconds: float) -> None:
        """Check that a head can be restored, and write it.

        Args:
            folder: to write to.
            head: the trained head.
            rows: of the fold.
            features: of the fold.
            seconds: that its training took.
        """
        from fusionkit.engine.restore import check_restored_fusion

        started, task = time.perf_counter(), self.built_task()
        check_restored_fusion(
            self.fusion, head, features.dev, rows.timeline(rows.dev), features.widths, self.seed, self.device
        )
        about = {
            "views": [name for name, _ in self.keys],
            "outputs": task.outputs,
            "fusion": str(self.fusion),
            "recipe": self.recipe.describe(),
            "seed": self.seed,
            "record": self.record,
            **self.uses,
            **({} if self.labels == "frame" else {"labels": self.labels}),
            "embedding_versions": self._embedding_versions(),
            "prior": task.prior(rows.train_label).tolist(),
        }
        seconds += time.perf_counter() - started
        folder.write_head(
            self.head, head, about, {"fit_seconds": seconds, "peak_mib": peak_memory(), **self._embed_cost()}
        )

    def _features(self) -> tuple[FoldRows, FoldFeatures]:
        """Rows and features of the fold. The last ones are kept: heads on the same features follow each other."""
        limit = feature_limit(self.memory, self.workers, self.device)
        asked = (self.folder, self.cache, self.fold, self.keys, self.recipe.standardize, self.labels, limit)
        if asked not in _FEATURES:
            _FEATURES.clear()  # before others are read: there may be memory for one fold only
            rows = RunFolder(self.folder).read_fold(self.fold)
            store, standardize = EmbeddingStore(self.cache), self.recipe.standardize
            of_clips = self.labels == "clip"
            load = load_clip_features if of_clips else load_features
            features = load(store, dict(self.keys), rows, standardize=standardize, memory=limit)
            _FEATURES[asked] = rows.of_clips() if of_clips else rows, features
        return _FEATURES[asked]

    def _embedding_versions(self) -> list[Versions]:
        """Versions of libraries that computed the embeddings; stored with the head, since the cache may be pruned."""
        store = EmbeddingStore(self.cache)
        return different(versions for _, key in self.keys for versions in store.versions(key))

    def _embed_cost(self) -> dict[str, float]:
        """Seconds spent on the embeddings by any run; stored with the head, since the cache may be pruned."""
        seconds = [EmbeddingStore(self.cache).seconds(key) for _, key in self.keys]
        known = [value for value in seconds if value is not None]
        return {"embed_seconds": sum(known)} if len(known) == len(seconds) else {}


@dataclass(frozen=True)
class StackTask:
    """Heads that differ in their seed alone, trained together as one stacked model.

    Attributes:
        name: for messages.
        heads: at least two.
        steps: 0, since the heads may have to be trained one at a time afterwards.
    """

    name: str
    heads: tuple[FitTask, ...]
    device: str
    steps: int = 0

    @classmethod
    def of(cls, heads: Sequence[FitTask]) -> StackTask:
        """Return the task of at least two heads."""
        return cls(f"{heads[0].name} and {len(heads) - 1} more", tuple(heads), heads[0].device)

    @property
    def folder(self) -> Path:
        """The run folder of the heads."""
        return self.heads[0].folder

    @property
    def cache(self) -> Path:
        """The cache of their embeddings."""
        return self.heads[0].cache

    def run(self, advance: Callable[[int], None]) -> Failure | None:
        """Train and store the heads that no other run is working on or has trained."""
        from fusionkit.engine.stacked import fit_stacked

        tasks = [replace(task, device=self.device) for task in self.heads]
        folder = RunFolder(self.folder)
        with leases([self.folder / "leases" / task.head for task in tasks]) as acquired:
            if not all(acquired):
                return BUSY
            missing = [task for task in tasks if not folder.has_head(task.head)]
            if not missing:
                return READY
            started, first = time.perf_counter(), missing[0]
            rows, features = first.inputs()
            seeds = [task.seed for task in missing]
            task, recipe = first.built_task(), first.recipe
            heads = fit_stacked(features, rows, task, first.fusion, recipe, seeds, self.device)
            seconds = (time.perf_counter() - started) / len(missing)
            for one, head in zip(missing, heads, strict=True):
                one.store(folder, head, rows, features, seconds)
        return None


def stacks(tasks: Sequence[FitTask]) -> list[FitTask | StackTask]:
    """Put heads that differ in their seed alone into one task, at the place of the first of them."""
    groups: dict[FitTask, list[FitTask]] = {}
    for task in tasks:  # a stack needs the same frames in each loss: several tasks label different ones in each batch
        alike = task if len(task.tasks) > 1 else replace(task, name="", head="", seed=0)
        groups.setdefault(alike, []).append(task)
    return [found[0] if len(found) == 1 else StackTask.of(found) for found in groups.values()]


Task = EmbedTask | FitTask | StackTask

_FEATURES: dict[tuple[Any, ...], tuple[FoldRows, FoldFeatures]] = {}


def attempt(task: Task, advance: Callable[[int], None]) -> Failure | None:
    """Run a task. An exception becomes a failure, but for an interrupt by the user."""
    with bounded_output() as output:
        try:
            return task.run(advance)
        except component_errors() as error:
            with headroom():
                return Failure.of(error, output())


def single_thread() -> Callable[[], None]:
    """Limit native libraries to one thread: more give different bits, and are far slower beside a busy neighbour.

    Returns:
        A function that restores the numbers of threads.
    """
    import cv2
    import torch
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    limits = threadpool_limits(1)

    def undo() -> None:
        limits.restore_original_limits()  # first: it noted those of OpenMP after torch had set them
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])

    return undo


def one_line(error: BaseException) -> str:
    """Return an error as one line. A long message is shortened."""
    text = str(error) if isinstance(error, FusionKitError) else cause_of(error)
    return shortened(" ".join(text.split()))


def _trace(message: str, stderr: str) -> str:
    return f"{message}\n\n{stderr}".strip() + "\n"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, its cause, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _check_unchanged(embedding: Embedding) -> None:
    """Check that the code is that of the plan: a process that replaces a lost one imports it later.

    Raises:
        DataError: if the code has changed.
    """
    if embedding.backbone is not None:
        check_unchanged(BACKBONES, embedding.backbone, embedding.record["backbone"])
        if embedding.record["extractor"]:
            check_unchanged(EXTRACTORS, embedding.extractor, embedding.record["extractor"])


_SOURCES: dict[tuple[Spec, str], Source] = {}  # by spec too: the images of an equal copy elsewhere may have changed


def _source(dataset: Spec, limit: int | None, fingerprint: str) -> Source:
    """Data set, opened once per process.

    Raises:
        DataError: if the data have changed since the work was planned.
    """
    if (dataset, fingerprint) not in _SOURCES:
        source = open_source(dataset, limit)
        if source.fingerprint != fingerprint:
            raise DataError(f"data set {dataset} has changed since this run began", hint="run again")
        _SOURCES[dataset, fingerprint] = source
    return _SOURCES[dataset, fingerprint]
