"""Pieces of work that any process can do: plain data in, stored results out. No test label is in any of them."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.config.recipe import Recipe
from fusionkit.engine.embed import Embedding, embed
from fusionkit.engine.features import FoldFeatures, FoldRows, load_features
from fusionkit.engine.fit import fit
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import DataError, FusionKitError, StorageError, out_of_memory
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.memory import ceiling, feature_limit, headroom, out_of_ceiling
from fusionkit.registry import BACKBONES, EXTRACTORS, FUSIONS
from fusionkit.registry.plugin_file import load_module, load_plugin_file
from fusionkit.registry.spec import Spec
from fusionkit.storage.embeddings import EmbeddingStore
from fusionkit.storage.lease import lease, leases
from fusionkit.storage.record import Record, check_unchanged


@dataclass(frozen=True)
class Code:
    """What a process must import so that registered components are known."""

    plugins: tuple[str, ...]
    modules: tuple[str, ...]

    def load(self) -> None:
        """Import it; what is imported already stays.

        Raises:
            FusionKitError: if something cannot be imported.
        """
        for path in self.plugins:
            load_plugin_file(path)
        for name in self.modules:
            load_module(name)


@dataclass(frozen=True)
class Failure:
    """Why a piece of work failed.

    Attributes:
        message: one line.
        trace: the traceback, or what is known instead of one.
        retryable: the work itself may be sound: its process was lost, or memory ran out.
        busy: nothing failed: another run is at this work.
        ready: nothing failed: another run has done this work.
        fatal: no other work can succeed either: results cannot be written.
    """

    message: str
    trace: str
    retryable: bool = False
    busy: bool = False
    ready: bool = False
    fatal: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure that an exception means."""
        trace = "".join(traceback.format_exception(error))
        lacking = next((cause for cause in _causes(error) if out_of_memory(cause)), None)
        message = one_line(error)
        most = ceiling()
        if lacking and most and type(lacking).__name__ != "OutOfMemoryError":  # which is that of a GPU
            message = f"{out_of_ceiling(most)}: {message}"
        return cls(message, trace, retryable=lacking is not None, fatal=isinstance(error, StorageError))

    @classmethod
    def late(cls, limit: float, words: str) -> Failure:
        """Its process was at it for more than so many seconds, and was ended; ``words`` are its last."""
        message = f"took longer than {limit:g} s (--cell-timeout) and was stopped"
        return cls(message, _traced(message, words))

    @classmethod
    def died(cls, exitcode: int, words: str, memory: float | None) -> Failure:
        """Its process died, which might use so many GiB; ``words`` are its last."""
        how = f"signal {-exitcode}" if exitcode < 0 else f"exit code {exitcode}"
        message = f"its process died ({how})"
        if memory and "bad_alloc" in words:
            message = f"{out_of_ceiling(memory)}, and {message}"
        return cls(message, _traced(message, words), retryable=True)


ELSEWHERE = Failure("another run is working on it", "", busy=True)
READY = Failure("another run has done it", "", ready=True)


@dataclass(frozen=True)
class EmbedTask:
    """One shard of some embeddings of one data set: its frames are read once for all that lack it.

    Attributes:
        name: for people.
        fingerprint: of the data, as they were when the work was planned.
        frames: how many frames the shard has.
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
        """What progress counts: frames."""
        return self.frames

    def run(self, advance: Callable[[int], None]) -> Failure | None:
        """Make the shard, those embeddings apart that another run is making.

        Args:
            advance: told how many frames are done, as they are.
        """
        paths = [self.cache / "leases" / f"{item.key}-{self.shard:05d}" for item in self.wanted]
        with leases(paths) as mine:
            free = [item for item, own in zip(self.wanted, mine, strict=True) if own]
            if free:
                source = _source(self.dataset, self.limit, self.fingerprint)
                for item in free:
                    _check_unchanged(item)
                embed(source, free, [self.shard], EmbeddingStore(self.cache), self.device, advance)
        return None if len(free) == len(self.wanted) else ELSEWHERE


@dataclass(frozen=True)
class FitTask:
    """One head.

    Attributes:
        name: for people.
        keys: embedding key by view name, main view first.
        fold: id under which the run folder holds the frames of the fold.
        record: what the head is made from, stored with it.
        uses: with what it is applied to new frames, likewise.
        memory: GiB of features that may be held; 0 for this process's share of what is available.
        workers: processes that share the machine; 0 for one a core.
    """

    name: str
    head: str
    folder: Path
    cache: Path
    keys: tuple[tuple[str, str], ...]
    fold: str
    classes: int
    fusion: Spec
    recipe: Recipe
    seed: int
    device: str
    record: Record = field(compare=False, repr=False)
    uses: dict[str, Any] = field(compare=False, repr=False)
    memory: float = 0.0
    workers: int = 0

    @property
    def steps(self) -> int:
        """What progress counts: heads."""
        return 1

    def run(self, advance: Callable[[int], None]) -> Failure | None:
        """Train the head and store it, unless another run does or has."""
        folder = RunFolder(self.folder)
        with lease(self.folder / "leases" / self.head) as mine:
            if not mine:
                return ELSEWHERE
            if folder.has_head(self.head):
                return READY
            self._train(folder)
        return None

    def _train(self, folder: RunFolder) -> None:
        check_unchanged(FUSIONS, self.fusion, self.record["fusion"])
        started = time.perf_counter()
        rows, features = self._features()
        head = fit(features, rows, self.classes, self.fusion, self.recipe, self.seed, self.device)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux, to MiB
        about = {
            "views": [name for name, _ in self.keys],
            "classes": self.classes,
            "fusion": str(self.fusion),
            "recipe": self.recipe.describe(),
            "seed": self.seed,
            "record": self.record,
            **self.uses,
            "train_counts": np.bincount(rows.train_label, minlength=self.classes).tolist(),
        }
        cost = {"fit_seconds": time.perf_counter() - started, "peak_mib": peak, **self._embed_cost()}
        folder.write_head(self.head, head, about, cost)

    def _features(self) -> tuple[FoldRows, FoldFeatures]:
        """The rows of the fold, and the features that were used last: heads on the same ones follow each other."""
        limit = feature_limit(self.memory, self.workers, self.device)
        asked = (self.folder, self.cache, self.fold, self.keys, self.recipe.standardize, limit)
        if asked not in _FEATURES:
            _FEATURES.clear()  # before others are read: there may be memory for one fold only
            rows = RunFolder(self.folder).read_fold(self.fold)
            store, standardize = EmbeddingStore(self.cache), self.recipe.standardize
            _FEATURES[asked] = rows, load_features(store, dict(self.keys), rows, standardize=standardize, memory=limit)
        return _FEATURES[asked]

    def _embed_cost(self) -> dict[str, float]:
        """What making the embeddings took, whoever made them: noted with the head, since the cache may be pruned."""
        seconds = [EmbeddingStore(self.cache).seconds(key) for _, key in self.keys]
        known = [value for value in seconds if value is not None]
        return {"embed_seconds": sum(known)} if len(known) == len(seconds) else {}


Task = EmbedTask | FitTask

_FEATURES: dict[tuple[Any, ...], tuple[FoldRows, FoldFeatures]] = {}


def single_thread() -> Callable[[], None]:
    """One thread: one or two give different bits, and two collapse beside a busy neighbour.

    Returns:
        What gives a process its threads back.
    """
    import cv2
    import torch
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    limits = threadpool_limits(1)

    def undo() -> None:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])
        limits.restore_original_limits()

    return undo


def attempt(task: Task, advance: Callable[[int], None]) -> Failure | None:
    """Do a piece of work; an exception becomes a failure, and so does a plugin's ``sys.exit``."""
    try:
        return task.run(advance)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (what a plugin raises stays with its own piece of work)
        with headroom():
            return Failure.of(error)


def _traced(message: str, words: str) -> str:
    return f"{message}\n\n{words}".strip() + "\n"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what caused it, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def one_line(error: BaseException) -> str:
    """An error in one line."""
    text = str(error) if isinstance(error, FusionKitError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _check_unchanged(embedding: Embedding) -> None:
    """A process that comes in the place of a lost one imports the code as it is now.

    Raises:
        DataError: if that is no longer the code that the embedding was planned with.
    """
    if embedding.backbone is not None:
        check_unchanged(BACKBONES, embedding.backbone, embedding.record["backbone"])
        if embedding.record["extractor"]:
            check_unchanged(EXTRACTORS, embedding.extractor, embedding.record["extractor"])


_SOURCES: dict[str, Source] = {}


def _source(dataset: Spec, limit: int | None, fingerprint: str) -> Source:
    """A data set, opened once a process.

    Raises:
        DataError: if the data are no longer those that the work was planned for.
    """
    if fingerprint not in _SOURCES:
        source = open_source(dataset, limit)
        if source.fingerprint != fingerprint:
            raise DataError(f"data set {dataset} has changed since this run began", hint="run again")
        _SOURCES[fingerprint] = source
    return _SOURCES[fingerprint]
