"""One row: choose fusion, recipe and smoother options on dev over all seeds, then score its cells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np

from fusionkit.contracts.dataset import FrameTable
from fusionkit.engine.features import FoldFeatures, FrameFeatures, load_clip_features, load_features
from fusionkit.engine.fold import FoldData
from fusionkit.engine.restore import check_restored_smoother, leading_frames, restored_smoother
from fusionkit.engine.score import score, truth_of
from fusionkit.engine.smooth import TaskSmoother, fit_smoother, smooth, smoother_input, unsmoothed
from fusionkit.errors import CellError
from fusionkit.grid.folder import RunFolder, StoredLogits
from fusionkit.grid.memory import GIB
from fusionkit.grid.plan import RowPlan
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.spec import Spec
from fusionkit.registry.sweep import dev_candidates
from fusionkit.storage.embeddings import EmbeddingStore


class StoredHeads:
    """Heads of a run folder. Each is verified once, and its logits are read once; the next run verifies them again.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._verified: set[str] = set()
        self._logits: dict[str, StoredLogits] = {}

    def has(self, head: str) -> bool:
        """Return whether a head is stored undamaged. One that was not is checked again at the next call."""
        if head not in self._verified and self.folder.has_head(head):
            self._verified.add(head)
        return head in self._verified

    def logits(self, head: str) -> StoredLogits:
        """Return the logits of a head.

        Raises:
            DataError: if they are missing or damaged.
        """
        if head not in self._logits:
            self._logits[head] = self.folder.read_logits(head)
        return self._logits[head]

    def keep_only(self, heads: Collection[str]) -> None:
        """Drop the logits of all other heads: those of a large grid do not fit into memory."""
        self._logits = {head: logits for head, logits in self._logits.items() if head in heads}


class RowScorer:
    """Scores the cells of a row, including those of earlier grids in the same folder.

    Args:
        row: of the plan.
        entry: the row as in ``grid.json``, with the cells of all grids.
        stored: heads of the run's folder.
        store: of the embeddings, for smoothers that need them.
        backbone_cost: returns (parameters, GFLOP) of the backbones of a frame's views.
        memory: bytes of embeddings to hold, for smoothers that need them.
    """

    def __init__(
        self,
        row: RowPlan,
        entry: dict[str, Any],
        stored: StoredHeads,
        store: EmbeddingStore,
        backbone_cost: Callable[[], tuple[int, float]],
        memory: int,
    ) -> None:
        self.row = row
        self.stored = stored
        self.folder = stored.folder
        self.store = store
        self.backbone_cost = backbone_cost
        self.memory = memory
        self.candidates = {head.candidate: head for head in row.heads}  # of each, one of its heads
        # Trained heads by candidate, then by cell.
        self.heads: dict[str, dict[str, str]] = {candidate: {} for candidate in self.candidates}
        for cell in entry["cells"]:
            for candidate, head in cell["heads"].items():
                if stored.has(head):
                    self.heads[candidate][cell["id"]] = head
        trained = {cell for heads in self.heads.values() for cell in heads}
        self.trained = [cell for cell in entry["cells"] if cell["id"] in trained]
        self.folds = {head.fold_data.fold.name: row.fold_data(head) for head in row.heads}
        self.trained_on = {head.fold_data.fold.name: head.fold_data.rows for head in row.heads}
        self.reused = 0
        self._features: dict[str, FoldFeatures] = {}
        self._dev_scores: dict[tuple[str, str], float] = {}
        stored.keep_only({head for heads in self.heads.values() for head in heads.values()})

    def tasks(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield (cell id, function that scores the cell) for every cell without a valid score."""
        valid = self._valid()
        for cell in self.trained:
            if cell["id"] in valid:
                self.reused += 1
            elif cell["id"] in self.cells:
                yield cell["id"], partial(self._score, self.cells[cell["id"]])
            else:
                self.folder.remove_cell(cell["id"])  # it may hold the score of a candidate that is no longer chosen

    def _valid(self) -> set[str]:
        """Stored, undamaged cells, with options that were chosen from the same heads as now."""
        stored = {cell["id"]: self.folder.read_cell(cell["id"]) for cell in self.trained}
        return {
            name for name, cell in stored.items() if cell is not None and cell.info["chosen_over"] == self._chosen_over
        }

    # -- choice on dev ---------------------------------------------------------------------------------------------

    @cached_property
    def _chosen_over(self) -> list[str]:
        """Heads from which fusion, recipe and smoother options are chosen; empty if there is nothing to choose."""
        if len(self._smoothers) == len(self.candidates) == 1:
            return []
        return sorted(head for heads in self.heads.values() for head in heads.values())

    @cached_property
    def cells(self) -> dict[str, dict[str, Any]]:
        """Cells that can be scored, by id, each with its head of the chosen candidate."""
        heads = self.heads[self.candidate]
        return {cell["id"]: {**cell, "head": heads[cell["id"]]} for cell in self.trained if cell["id"] in heads}

    @cached_property
    def candidate(self) -> str:
        """Fusion and recipe with the best mean dev score over seeds and folds, before smoothing."""
        scores = self._candidate_scores
        return max(scores, key=lambda candidate: scores[candidate]) if scores else next(iter(self.candidates))

    @cached_property
    def _candidate_scores(self) -> dict[str, float]:
        """Mean dev score by candidate of a sweep, without those of which more heads failed than of others."""
        if len(self.candidates) == 1:
            return {}
        most = max(map(len, self.heads.values()))
        folds = {cell["id"]: cell["fold"] for cell in self.trained}
        return {
            candidate: float(np.mean([self._unsmoothed_score(folds[cell], head) for cell, head in heads.items()]))
            for candidate, heads in self.heads.items()
            if len(heads) == most
        }

    def _logits(self, head: str) -> StoredLogits:
        """Logits of the row's task."""
        return self.stored.logits(head).of_task(self.row.member)

    def _unsmoothed_score(self, fold: str, head: str) -> float:
        fold_data = self.folds[fold]
        logits = self._logits(head).dev
        seen = ~np.isnan(logits[:, 0])
        predictions = unsmoothed(fold_data.task, logits[seen])
        return fold_data.task.dev_metric(fold_data.scored.dev_label[seen], predictions)

    @cached_property
    def chosen(self) -> Spec:
        """Smoother with every option chosen; the first of equal candidates, which is the mildest."""
        if len(self._smoothers) == 1:
            return self._smoothers[0]
        cells = self.cells.values()
        scores = [np.mean([self._dev_score(cell, spec) for cell in cells]) for spec in self._smoothers]
        return self._smoothers[int(np.argmax(scores))]

    @cached_property
    def _smoothers(self) -> list[Spec]:
        """Smoothers among which the dev split selects, the mildest first."""
        return dev_candidates(SMOOTHERS, self.row.smoother)

    def _dev_score(self, cell: dict[str, Any], spec: Spec) -> float:
        """Dev score of a cell, computed once: the chosen smoother is one of the candidates."""
        key = (cell["id"], str(spec))
        if key not in self._dev_scores:
            fold_data, logits = self.folds[cell["fold"]], self._logits(cell["head"])
            smoother = self._smoother(spec, cell, fold_data, logits)
            probs = self._smoothed(smoother, fold_data, fold_data.dev_table, logits.dev, "dev")
            self._dev_scores[key] = fold_data.task.dev_metric(fold_data.scored.dev_label, probs)
        return self._dev_scores[key]

    # -- scoring on test -------------------------------------------------------------------------------------------

    def _score(self, cell: dict[str, Any]) -> None:
        """Smooth, score and store one cell."""
        fold_data, logits = self.folds[cell["fold"]], self._logits(cell["head"])
        smoother = self._smoother(self.chosen, cell, fold_data, logits)
        probs = self._smoothed(smoother, fold_data, fold_data.test_table, logits.test, "test")
        state = smoother.state() if smoother.fitted else None
        if state is not None:
            self._check_restored(state, fold_data, logits, probs)
        task = fold_data.task
        result = score(task, probs, fold_data.sealed)
        total = result.counts.sum(0)
        annotated = fold_data.sealed.annotated
        params, gflops = self.backbone_cost()
        info = {
            "seed": cell["seed"],
            "fold": cell["fold"],
            "smoother": str(self.chosen),
            "head": cell["head"],
            "fusion": str(self.candidates[self.candidate].fusion),
            "recipe": str(self.candidates[self.candidate].recipe),
            "candidate_dev_scores": {name: _number(value) for name, value in self._candidate_scores.items()},
            "chosen_over": self._chosen_over,
            "dev_score": _number(self._dev_score(cell, self.chosen)),
            "task": fold_data.task_text,
            "member": self.row.member,
            "score": _number(task.metric(total)),
            "scores": dict(zip(task.names, map(_number, task.scores(total)), strict=True)),
            "measures": {name: _number(value) for name, value in task.measures(total).items()},
            "diagnostics": {name: _number(value) for name, value in result.diagnostics.items()},
            "ceiling": task.ceiling(truth_of(fold_data.sealed)),
            "n_clips": len(np.unique(fold_data.sealed.clip[annotated])),
            "n_frames": int(annotated.sum()),
            "n_complete": int(logits.test_complete[annotated].sum()),
            "impute": self.row.impute,
            "imputed": int(np.isnan(logits.test[annotated, 0]).sum()),
            "params": logits.info["params"] + params,
            "gflops": logits.info["gflops"] + gflops,
            "best_epoch": logits.info["best_epoch"],
            "steps": logits.info["steps"],
            "record": self.row.record,
        }
        self.folder.write_cell(cell["id"], result, info, state)
        self.folder.remove_failure(cell["id"])

    def _check_restored(
        self, state: dict[str, np.ndarray], fold_data: FoldData, logits: StoredLogits, probs: np.ndarray
    ) -> None:
        """Check the state of a learned smoother on the first clips of test.

        Raises:
            PluginError: if a smoother that is restored from it gives other probabilities.
        """
        rows = leading_frames(fold_data.test_table.clip)
        restored = restored_smoother(fold_data.task, self.chosen, state)
        found = self._smoothed(restored, fold_data, fold_data.test_table.take(rows), logits.test[rows], "test")
        check_restored_smoother(self.chosen, probs[rows], found)

    # -- smoothing -------------------------------------------------------------------------------------------------

    def _smoother(self, spec: Spec, cell: dict[str, Any], fold_data: FoldData, logits: StoredLogits) -> TaskSmoother:
        """Build a smoother, and fit it on the dev clips if it learns."""
        smoother = TaskSmoother.of(fold_data.task, spec)
        if not smoother.fitted:
            return smoother
        seen = ~np.isnan(logits.dev[:, 0])
        x = smoother_input(smoother, logits.dev, self._embeddings(smoother, fold_data, "dev"))
        if not isinstance(x, np.ndarray) and (size := int(seen.sum()) * x.width * 8) > self.memory:
            raise CellError(
                f"smoother {self.row.smoother} is fitted on all dev clips at once: their embeddings need "
                f"{size / GIB:.1f} GiB, above the limit of {self.memory / GIB:.1f} GiB",
                hint="--memory raises it",
            )
        fit_smoother(smoother, fold_data.dev_table, seen, x, fold_data.scored.dev_label, cell["seed"])
        return smoother

    def _smoothed(
        self, smoother: TaskSmoother, fold_data: FoldData, table: FrameTable, logits: np.ndarray, part: str
    ) -> np.ndarray:
        seen = ~np.isnan(logits[:, 0])
        x = smoother_input(smoother, logits, self._embeddings(smoother, fold_data, part))
        return smooth(smoother, table, seen, x, fold_data.prior, self.row.impute)

    def _embeddings(self, smoother: TaskSmoother, fold_data: FoldData, part: str) -> FrameFeatures | None:
        """Features of dev or test, if the smoother needs embeddings."""
        if not smoother.reads_embeddings:
            return None
        name = fold_data.fold.name
        if name not in self._features:
            chosen = self.candidates[self.candidate]
            keys = {view: embedding.key for view, embedding in chosen.embeddings.items()}
            standardize = chosen.recipe.standardize
            load = load_features if fold_data.labels == "frame" else load_clip_features
            self._features[name] = load(
                self.store, keys, self.trained_on[name], standardize=standardize, memory=self.memory // len(self.folds)
            )
        return self._features[name].dev if part == "dev" else self._features[name].test


def _number(value: Any) -> float | None:
    """A number for JSON; None for NaN."""
    return None if np.isnan(value) else float(value)
