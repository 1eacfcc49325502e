"""Pieces of work that any process can do: plain data in, stored results out. No test label is in any of them."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fusionkit.engine.embed import Embedding, embed
from fusionkit.engine.embeddings import EmbeddingStore
from fusionkit.engine.features import Features, FoldRows, load_features
from fusionkit.engine.fit import fit
from fusionkit.engine.source import Source, open_source
from fusionkit.errors import FusionKitError
from fusionkit.grid.folder import RunFolder
from fusionkit.plugin_file import load_module, load_plugin_file
from fusionkit.recipe import Recipe
from fusionkit.spec import Spec


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
    """

    message: str
    trace: str
    retryable: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure that an exception means."""
        lost_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        return cls(one_line(error), "".join(traceback.format_exception(error)), lost_memory)


@dataclass(frozen=True)
class EmbedTask:
    """Some shards of some embeddings of one data set.

    Attributes:
        name: for people.
        shards: which shards; each is read once for all the embeddings that lack it.
        frames: how many frames that is.
    """

    name: str
    dataset: Spec
    limit: int | None
    wanted: tuple[Embedding, ...]
    shards: tuple[int, ...]
    frames: int
    cache: Path
    device: str

    @property
    def steps(self) -> int:
        """What progress counts: frames."""
        return self.frames

    def run(self, advance: Callable[[int], None]) -> None:
        """Make the shards.

        Args:
            advance: told how many frames are done, as they are.
        """
        embed(
            _source(str(self.dataset), self.limit),
            self.wanted,
            self.shards,
            EmbeddingStore(self.cache),
            self.device,
            advance,
        )


@dataclass(frozen=True)
class FitTask:
    """One head.

    Attributes:
        name: for people.
        keys: embedding key by view name, main view first.
        rows: id under which the run folder holds the rows of the fold.
    """

    name: str
    head: str
    folder: Path
    cache: Path
    keys: tuple[tuple[str, str], ...]
    rows: str
    classes: int
    fusion: Spec
    recipe: Recipe
    seed: int
    device: str

    @property
    def steps(self) -> int:
        """What progress counts: heads."""
        return 1

    def run(self, advance: Callable[[int], None]) -> None:
        """Train the head and store it."""
        started = time.perf_counter()
        rows, features = _features(self.folder, self.cache, self.rows, self.keys, self.recipe.standardize)
        head = fit(features, rows, self.classes, self.fusion, self.recipe, self.seed, self.device)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux, to MiB
        cost = {"fit_seconds": time.perf_counter() - started, "peak_mib": peak}
        RunFolder(self.folder).write_head(self.head, head, cost)


Task = EmbedTask | FitTask


def single_thread() -> None:
    """One thread: one or two give different bits, and two collapse beside a busy neighbour."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


def attempt(task: Task, advance: Callable[[int], None]) -> Failure | None:
    """Do a piece of work; an exception becomes a failure."""
    try:
        task.run(advance)
    except Exception as error:  # noqa: BLE001  (whatever a plugin raises stays with its own piece of work)
        return Failure.of(error)
    return None


def one_line(error: BaseException) -> str:
    """An error in one line."""
    text = str(error) if isinstance(error, FusionKitError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


_SOURCES: dict[tuple[str, int | None], Source] = {}


def _source(dataset: str, limit: int | None) -> Source:
    """A data set, opened once a process."""
    key = (dataset, limit)
    if key not in _SOURCES:
        _SOURCES[key] = open_source(Spec.parse(dataset), limit)
    return _SOURCES[key]


@lru_cache(maxsize=1)
def _features(
    folder: Path, cache: Path, rows: str, keys: tuple[tuple[str, str], ...], standardize: bool
) -> tuple[FoldRows, Features]:
    """The features that were used last: heads on the same ones follow each other."""
    found = RunFolder(folder).read_rows(rows)
    return found, load_features(EmbeddingStore(cache), dict(keys), found, standardize=standardize)
