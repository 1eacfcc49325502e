"""Run: do what a plan still lacks, each piece once: embed, fit, then smooth and score family by family."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fusionkit.engine.embed import Embedding, backbone_cost, embed
from fusionkit.engine.embeddings import EmbeddingStore
from fusionkit.engine.features import Features, load_features
from fusionkit.engine.fit import fit
from fusionkit.engine.source import Source
from fusionkit.errors import CellError, FusionKitError
from fusionkit.grid.family import FamilyScorer
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.plan import HeadWork, Plan
from fusionkit.grid.progress import Progress
from fusionkit.registry import SMOOTHERS


@dataclass(frozen=True)
class RunOptions:
    """How a plan is carried out; none of it changes a result.

    Attributes:
        device: where embedding and training run: ``cpu``, ``cuda:0``.
        fail_fast: stop at the first failure.
        retry_failed: try again what failed in an earlier run.
    """

    device: str = "cpu"
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
    """

    embedded: int = 0
    fitted: int = 0
    scored: int = 0
    reused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)


def run(plan: Plan, folder: RunFolder, store: EmbeddingStore, options: RunOptions, progress: Progress) -> Outcome:
    """Carry out a plan; what is stored already is not done again.

    Raises:
        CellError: at the first failure, with ``fail_fast``.
        KeyboardInterrupt: as it comes; all finished pieces are kept.
    """
    import torch

    torch.set_num_threads(1)  # one thread or two give different bits, and two collapse beside a busy neighbour
    return _Run(plan, folder, store, options, progress).run()


def lacking_heads(plan: Plan, folder: RunFolder) -> list[HeadWork]:
    """The heads that are not stored, in plan order."""
    return [head for head in plan.heads.values() if not folder.has_head(head.id)]


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

    def run(self) -> Outcome:
        lacking = lacking_heads(self.plan, self.folder)
        heads = [head for head in lacking if self.options.retry_failed or not self.folder.failure(head.id)]
        broken = self._embed(heads + self._smoothed_by_embeddings())
        self._fit(heads, broken)
        self._score()
        self._collect_failures()
        self._collect_unreadable()
        return self.outcome

    def _smoothed_by_embeddings(self) -> list[HeadWork]:
        """Heads whose cells are still to be made by a smoother that looks at embeddings."""
        return [
            family.heads[0]
            for family in self.plan.families
            if SMOOTHERS.get(family.smoother.name).needs == "embeddings"
            and any(self.folder.read_cell(family.cell_id(head)) is None for head in family.heads)
        ]

    # -- embed -----------------------------------------------------------------------------------------------------

    def _embed(self, heads: list[HeadWork]) -> dict[str, BaseException]:
        """Make what the heads (and smoothers of embeddings) need; the embeddings that failed, with their errors."""
        groups: dict[tuple[int, str], tuple[Source, dict[str, Embedding]]] = {}
        for head in heads:
            source = head.trial.source
            for embedding in head.embeddings.values():
                group = groups.setdefault((id(source), str(embedding.extractor)), (source, {}))
                group[1].setdefault(embedding.key, embedding)
        broken: dict[str, BaseException] = {}
        todo = [(source, self._lacking(source, wanted.values())) for source, wanted in groups.values()]
        todo = [(source, wanted) for source, wanted in todo if wanted]
        total = sum(len(source.table) for source, _ in todo)
        if not todo:
            return broken
        with self.progress.stage("embed", total, "frames"):
            for source, wanted in todo:
                self.outcome.embedded += len(source.table) * len(wanted)
                broken.update(self._embed_group(source, wanted))
        return broken

    def _lacking(self, source: Source, wanted: Iterable[Embedding]) -> list[Embedding]:
        rows = len(source.table)
        return [embedding for embedding in wanted if self.store.missing(embedding.key, rows, verify=True)]

    def _embed_group(self, source: Source, wanted: list[Embedding]) -> dict[str, BaseException]:
        """All views in one pass; if that fails, one by one, so that only the broken ones are lost."""
        try:
            embed(source, wanted, self.store, self.options.device, self.progress.advance)
        except Exception as error:
            if self.options.fail_fast:
                raise _as_cell_error(str(wanted[0]), error) from error
            if len(wanted) == 1:
                return {wanted[0].key: error}
            found: dict[str, BaseException] = {}
            for embedding in wanted:
                found.update(self._embed_group(source, [embedding]))
            return found
        return {}

    # -- fit -------------------------------------------------------------------------------------------------------

    def _fit(self, heads: list[HeadWork], broken: dict[str, BaseException]) -> None:
        if not heads:
            return
        features = _FeatureCache(self.store)
        with self.progress.stage("fit", len(heads), "heads"):
            # Heads on the same features follow each other, so that features are read once.
            for head in sorted(heads, key=lambda head: (id(head.trial), list(head.embeddings))):
                errors = [broken[item.key] for item in head.embeddings.values() if item.key in broken]
                task = partial(_raise, errors[0]) if errors else partial(self._fit_head, head, features)
                if self._guarded(head.id, head.name, task):
                    self.outcome.fitted += 1
                self.progress.advance()

    def _fit_head(self, head: HeadWork, cache: _FeatureCache) -> None:
        started = time.perf_counter()
        trial = head.trial
        head_result = fit(
            cache.get(head),
            trial.rows,
            trial.task.num_classes,
            head.fusion,
            head.recipe,
            head.seed,
            self.options.device,
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux, to MiB
        cost = {"fit_seconds": time.perf_counter() - started, "peak_mib": peak}
        self.folder.write_head(head.id, head_result, cost)

    # -- smooth and score ------------------------------------------------------------------------------------------

    def _score(self) -> None:
        grid = self.folder.load_grid()
        assert grid is not None
        records = {record["id"]: record for record in grid["families"]}
        families = self.plan.families
        with self.progress.stage("score", len(families), "rows"):
            for family in families:
                scorer = FamilyScorer(family, records[family.id], self.folder, self.store, self._costs(family.heads[0]))
                for cell, task in scorer.tasks():
                    if self._guarded(cell, f"{family.axes.name}", task):
                        self.outcome.scored += 1
                self.outcome.reused += scorer.reused
                self.progress.advance()

    def _costs(self, head: HeadWork) -> tuple[int, float]:
        """(parameters, GFLOP) of the backbones behind a head: weights count once, work once a view."""
        specs = [str(embedding.backbone) for embedding in head.embeddings.values() if embedding.backbone]
        costs = {str(item.backbone): backbone_cost(item.backbone) for item in head.embeddings.values() if item.backbone}
        return sum(params for params, _ in costs.values()), sum(costs[spec][1] for spec in specs)

    def _guarded(self, work: str, name: str, task: Callable[[], Any]) -> bool:
        """Run one piece; a failure is written down and does not stop the others."""
        try:
            task()
        except Exception as error:
            if self.options.fail_fast:
                raise _as_cell_error(name, error) from error
            message = _one_line(error)
            self.folder.write_failure(work, message, "".join(traceback.format_exception(error)))
            self.progress.failed(name, message)
            return False
        return True

    def _collect_failures(self) -> None:
        for family in self.plan.families:
            for head in family.heads:
                message = self.folder.failure(family.cell_id(head)) or self.folder.failure(head.id)
                if message:
                    self.outcome.failed[f"{family.axes.name}/{head.seed}"] = message

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


class _FeatureCache:
    """The features that were used last."""

    def __init__(self, store: EmbeddingStore) -> None:
        self.store = store
        self.key: object = None
        self.features: Features | None = None

    def get(self, head: HeadWork) -> Features:
        keys = {name: embedding.key for name, embedding in head.embeddings.items()}
        key = (id(head.trial), tuple(keys.items()), head.recipe.standardize)
        if self.features is None or key != self.key:
            self.features = load_features(self.store, keys, head.trial.rows, standardize=head.recipe.standardize)
            self.key = key
        return self.features


def _raise(error: BaseException) -> None:
    raise error


def _as_cell_error(name: str, error: Exception) -> CellError:
    return CellError(f"{name}: {_one_line(error)}")


def _one_line(error: BaseException) -> str:
    text = str(error) if isinstance(error, FusionKitError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
