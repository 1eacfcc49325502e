"""One row: its recipe and its smoother's open options chosen on dev over all seeds, then its cells are scored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.contracts.smoother import Smoother
from fusionkit.engine.features import FoldFeatures, FrameFeatures, load_features
from fusionkit.engine.fold import FoldData
from fusionkit.engine.score import dev_metric, score
from fusionkit.engine.smooth import ConcatenatedViews, fit_smoother, smooth, smoother_input
from fusionkit.errors import CellError
from fusionkit.grid.folder import RunFolder, StoredLogits
from fusionkit.grid.memory import GIB
from fusionkit.grid.plan import RowPlan
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.options import automatic
from fusionkit.registry.spec import Spec
from fusionkit.stats.intervals import accuracy, macro_f1, uar
from fusionkit.storage.embeddings import EmbeddingStore


class StoredHeads:
    """Remembers which heads are sound, for as long as a run lasts; the next run checks every byte again.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._sound: set[str] = set()
        self._logits: dict[str, StoredLogits] = {}

    def has(self, head: str) -> bool:
        """Whether a head is stored whole and undamaged; one that was not is looked for again."""
        if head not in self._sound and self.folder.has_head(head):
            self._sound.add(head)
        return head in self._sound

    def logits(self, head: str) -> StoredLogits:
        """The logits of a head: every smoother, and every candidate of a choice, looks at them.

        Raises:
            DataError: if they are missing or damaged.
        """
        if head not in self._logits:
            self._logits[head] = self.folder.read_logits(head)
        return self._logits[head]

    def keep_only(self, heads: Collection[str]) -> None:
        """Forget the logits of all others: those of a large grid do not fit into memory."""
        self._logits = {head: logits for head, logits in self._logits.items() if head in heads}


class RowScorer:
    """Scores the cells of a row, those of earlier grids in the same folder too.

    Args:
        row: of the plan.
        record: the row as ``grid.json`` holds it: the union of its cells.
        stored: the heads of the run's folder.
        store: of the embeddings, for smoothers that need them.
        backbone_cost: (parameters, GFLOP) of the backbones behind a frame's views.
        memory: bytes of embeddings that may be held, for smoothers that need them.
    """

    def __init__(
        self,
        row: RowPlan,
        record: dict[str, Any],
        stored: StoredHeads,
        store: EmbeddingStore,
        backbone_cost: tuple[int, float],
        memory: int,
    ) -> None:
        self.row = row
        self.stored = stored
        self.folder = stored.folder
        self.store = store
        self.backbone_cost = backbone_cost
        self.memory = memory
        self.recipes = {str(head.recipe): head.recipe for head in row.heads}
        # By recipe, then by cell: the heads that are there.
        self.heads: dict[str, dict[str, str]] = {recipe: {} for recipe in self.recipes}
        for cell in record["cells"]:
            for recipe, head in cell["heads"].items():
                if stored.has(head):
                    self.heads[recipe][cell["id"]] = head
        begun = {cell for heads in self.heads.values() for cell in heads}
        self.begun = [cell for cell in record["cells"] if cell["id"] in begun]
        self.folds = {head.fold_data.fold.name: head.fold_data for head in row.heads}
        self.reused = 0
        self._features: dict[str, FoldFeatures] = {}
        self._dev_scores: dict[tuple[str, str], float] = {}
        stored.keep_only({head for heads in self.heads.values() for head in heads.values()})

    def tasks(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Cell id and what makes it, for every cell that is not there."""
        ready = self._ready()
        for cell in self.begun:
            if cell["id"] in ready:
                self.reused += 1
            elif cell["id"] in self.cells:
                yield cell["id"], partial(self._make, self.cells[cell["id"]])
            else:
                self.folder.forget_cell(cell["id"])  # it may hold the score of a recipe that is no longer chosen

    def _ready(self) -> set[str]:
        """The cells that stand: stored, undamaged, and with options that were chosen over the same heads as now."""
        stored = {cell["id"]: self.folder.read_cell(cell["id"]) for cell in self.begun}
        return {
            name for name, cell in stored.items() if cell is not None and cell.info["chosen_over"] == self._chosen_over
        }

    @cached_property
    def _chosen_over(self) -> list[str]:
        """The heads on which recipe and smoother are chosen; empty where there is no choice."""
        if not self._candidates and len(self.recipes) == 1:
            return []
        return sorted(head for heads in self.heads.values() for head in heads.values())

    @cached_property
    def cells(self) -> dict[str, dict[str, Any]]:
        """The cells that can be scored, by id, each with its head of the chosen recipe."""
        heads = self.heads[self.recipe]
        return {cell["id"]: {**cell, "head": heads[cell["id"]]} for cell in self.begun if cell["id"] in heads}

    @cached_property
    def recipe(self) -> str:
        """The recipe with the best mean dev score over seeds and folds, before smoothing; of equal ones the first."""
        scores = self._recipe_scores
        return max(scores, key=lambda recipe: scores[recipe]) if scores else next(iter(self.recipes))

    @cached_property
    def _recipe_scores(self) -> dict[str, float]:
        """Mean dev score by recipe of a sweep; one that lacks heads which others have (they failed) is not compared."""
        if len(self.recipes) == 1:
            return {}
        most = max(map(len, self.heads.values()))
        folds = {cell["id"]: cell["fold"] for cell in self.begun}
        return {
            recipe: float(np.mean([self._unsmoothed_score(folds[cell], head) for cell, head in heads.items()]))
            for recipe, heads in self.heads.items()
            if len(heads) == most
        }

    def _unsmoothed_score(self, fold: str, head: str) -> float:
        fold_data = self.folds[fold]
        logits = self.stored.logits(head).dev
        seen = ~np.isnan(logits[:, 0])
        return dev_metric(fold_data.task, logits[seen], fold_data.rows.dev_label[seen])

    @cached_property
    def _candidates(self) -> list[Spec]:
        """The smoother with each combination of values for its options that are ``auto``; empty if none is."""
        spec = self.row.smoother
        open_options = automatic(SMOOTHERS.get(spec.name), spec.options)
        if not open_options:
            return []
        choices = product(*open_options.values())
        return [Spec(spec.name, {**spec.options, **dict(zip(open_options, choice, strict=True))}) for choice in choices]

    @cached_property
    def chosen(self) -> Spec:
        """The smoother with every option settled: of equal candidates the first, which is the mildest."""
        if not self._candidates:
            return self.row.smoother
        cells = self.cells.values()
        scores = [np.mean([self._dev_score(cell, spec) for cell in cells]) for spec in self._candidates]
        return self._candidates[int(np.argmax(scores))]

    def _dev_score(self, cell: dict[str, Any], spec: Spec) -> float:
        """Computed once: what was chosen has been scored among the candidates."""
        key = (cell["id"], str(spec))
        if key not in self._dev_scores:
            self._dev_scores[key] = self._scored_on_dev(cell, spec)
        return self._dev_scores[key]

    def _scored_on_dev(self, cell: dict[str, Any], spec: Spec) -> float:
        fold_data = self.folds[cell["fold"]]
        smoother: Smoother = SMOOTHERS.build(spec)
        logits = self.stored.logits(cell["head"])
        if smoother.fitted:
            self._fit(smoother, fold_data, logits, cell["seed"])
        probs = self._smoothed(smoother, fold_data, fold_data.dev_table, logits.dev, "dev")
        return dev_metric(fold_data.task, probs, fold_data.rows.dev_label)

    def _make(self, cell: dict[str, Any]) -> None:
        fold_data = self.folds[cell["fold"]]
        smoother: Smoother = SMOOTHERS.build(self.chosen)
        logits = self.stored.logits(cell["head"])
        if smoother.fitted:
            self._fit(smoother, fold_data, logits, cell["seed"])
        probs = self._smoothed(smoother, fold_data, fold_data.test_table, logits.test, "test")
        result = score(fold_data.task, probs, fold_data.sealed)
        total = result.counts.sum(0)
        per_class = fold_data.task.per_class_f1(total)
        info = {
            "seed": cell["seed"],
            "fold": cell["fold"],
            "smoother": str(self.chosen),
            "head": cell["head"],
            "recipe": self.recipe,
            "recipe_dev_macro_f1": {name: _number(value) for name, value in self._recipe_scores.items()},
            "chosen_over": self._chosen_over,
            "dev_macro_f1": _number(self._dev_score(cell, self.chosen)),
            "macro_f1": _number(macro_f1(total)),
            "accuracy": _number(accuracy(total)),
            "uar": _number(uar(total)),
            "ece": _number(result.ece),
            "per_class_f1": dict(zip(fold_data.source.classes, map(_number, per_class), strict=True)),
            "n_clips": len(np.unique(fold_data.sealed.clip[fold_data.sealed.annotated])),
            "n_frames": int(total.sum()),
            "covered": int(logits.test_whole[fold_data.sealed.annotated].sum()),
            "impute": self.row.impute,
            "imputed": int(np.isnan(logits.test[fold_data.sealed.annotated, 0]).sum()),
            "params": logits.info["params"] + self.backbone_cost[0],
            "gflops": logits.info["gflops"] + self.backbone_cost[1],
            "best_epoch": logits.info["best_epoch"],
            "predicted_classes": result.predicted,
            "record": self.row.record,
        }
        self.folder.write_cell(cell["id"], result, info, smoother.state() if smoother.fitted else None)
        self.folder.forget_failure(cell["id"])

    def _fit(self, smoother: Smoother, fold_data: FoldData, logits: StoredLogits, seed: int) -> None:
        seen = ~np.isnan(logits.dev[:, 0])
        x = smoother_input(smoother, logits.dev, self._embeddings(smoother, fold_data, "dev"))
        if isinstance(x, ConcatenatedViews) and (size := int(seen.sum()) * x.width * 8) > self.memory:
            raise CellError(
                f"smoother {self.row.smoother} is fitted on all dev clips at once: their embeddings need "
                f"{size / GIB:.1f} GiB, above the limit of {self.memory / GIB:.1f} GiB",
                hint="--memory raises it",
            )
        fit_smoother(smoother, fold_data.dev_table, seen, x, fold_data.rows.dev_label, seed)

    def _smoothed(
        self, smoother: Smoother, fold_data: FoldData, table: FrameTable, logits: np.ndarray, part: str
    ) -> np.ndarray:
        seen = ~np.isnan(logits[:, 0])
        x = smoother_input(smoother, logits, self._embeddings(smoother, fold_data, part))
        return smooth(smoother, table, seen, x, fold_data.prior, self.row.impute)

    def _embeddings(self, smoother: Smoother, fold_data: FoldData, part: str) -> FrameFeatures | None:
        """The features of a part, for a smoother that needs embeddings."""
        if smoother.needs != "embeddings":
            return None
        name = fold_data.fold.name
        if name not in self._features:
            keys = {view: embedding.key for view, embedding in self.row.heads[0].embeddings.items()}
            standardize = self.recipes[self.recipe].standardize
            self._features[name] = load_features(
                self.store, keys, fold_data.rows, standardize=standardize, memory=self.memory // len(self.folds)
            )
        return self._features[name].dev if part == "dev" else self._features[name].test


def _number(value: Any) -> float | None:
    """A number for JSON; None for NaN."""
    return None if np.isnan(value) else float(value)
