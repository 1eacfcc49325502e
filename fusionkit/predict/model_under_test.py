"""Evaluate a trained row of a run folder again on its own test frames or clips, with perturbed views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fusionkit.engine.features import Embeddings, FeaturesInMemory, FeaturesInStore, FrameFeatures
from fusionkit.engine.fold import FoldData, described, open_folds
from fusionkit.engine.perturb import (
    Intact,
    Occlusion,
    Perturbation,
    PerturbedFeatures,
    Replaced,
    ViewChange,
    ViewFeatures,
)
from fusionkit.engine.score import Score, score
from fusionkit.engine.smooth import TaskSmoother
from fusionkit.errors import DataError
from fusionkit.grid.contrasts import StoredRow
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.lookup import RowMatch, find_row
from fusionkit.grid.memory import feature_limit
from fusionkit.grid.progress import Progress
from fusionkit.grid.results import RunResults, pooled
from fusionkit.predict.predictor import Predictor, one_thread
from fusionkit.predict.stored_cell import open_cell
from fusionkit.predict.trained_head import TrainedHead
from fusionkit.registry.spec import Spec
from fusionkit.stats.crossed import Estimate, estimate
from fusionkit.stats.intervals import leave_one_out

_UNSMOOTHED = Spec("none")


@dataclass(frozen=True, eq=False)
class Scores:
    """The metric, or a value derived from it, of S seeds, with jackknife replicates over U units (subjects or videos).

    Attributes:
        full: (S,) on all units.
        left_out: (S, U) without each unit.
    """

    full: np.ndarray
    left_out: np.ndarray

    def __sub__(self, other: Scores) -> Scores:
        return Scores(self.full - other.full, self.left_out - other.left_out)

    def estimate(self, within: tuple[float, float] = (-1.0, 1.0)) -> Estimate:
        """Return the mean over seeds with a 95 % interval; ``within`` is the range of possible values."""
        return estimate(self.full, self.left_out, within=within)

    def of_seeds(self, indices: Sequence[int]) -> Scores:
        """Return the scores of some seeds."""
        return Scores(self.full[list(indices)], self.left_out[list(indices)])

    @classmethod
    def mean(cls, scores: Sequence[Scores]) -> Scores:
        """Return the mean over draws."""
        return cls(np.mean([each.full for each in scores], axis=0), np.mean([each.left_out for each in scores], axis=0))


class ModelUnderTest:
    """The finished heads of a row, of one of its seeds or of one cell, with the test frames of their folds.

    Where clips are labelled, a view is shuffled or blanked in the features of clips, which are what the heads get.
    Frames that lose a view at random lose it before their clip is pooled.

    Args:
        results: of the run folder.
        text: row or cell, as :func:`fusionkit.grid.lookup.find_row` takes it.
        device: torch device.
        smoothed: smooth the probabilities as in the run.
        predict_empty: run the fusion on frames that have lost every view; otherwise impute them as in the run.
        progress: counts perturbations, and frames that are embedded again.

    Raises:
        ConfigError: if the text matches no row or several.
        DataError: if no seed of the row is finished, or its data are missing or have changed.
        FusionKitError: if a component fails.
    """

    def __init__(
        self, results: RunResults, text: str, device: str, *, smoothed: bool, predict_empty: bool, progress: Progress
    ) -> None:
        self.match = find_row(results.grid, text)
        self.predictor: Predictor = open_cell(results.folder, text, device)
        self.progress = progress
        self._stored = _finished(results, self.match)
        self.seeds = sorted(self._stored.counts)
        self.task, self.metric = self._stored.task, self._stored.task.metric_name
        self.folds = _folds(results.grid, self.match)
        _check_data(results.folder, self._stored, self.folds)
        heads = [head for head in self.predictor.heads if head.seed in self.seeds]
        unsmoothed = [replace(head, smoother=TaskSmoother.of(self.task, _UNSMOOTHED)) for head in heads]
        self._heads = heads if smoothed else unsmoothed
        self.smoothed = smoothed
        self.predict_empty = predict_empty
        self._scores: dict[Perturbation, Scores] = {}
        self._features_by_head: list[tuple[TrainedHead, FeaturesInMemory | FeaturesInStore]] = []
        self._occluded: dict[str, tuple[Occlusion, Embeddings]] = {}  # clips of each fold, under the last occlusion
        for head in heads:
            self._test_features(head)

    @property
    def name(self) -> str:
        """Return ``views/fusion/smoother[/seed]``."""
        return self.match.name

    @property
    def views(self) -> tuple[str, ...]:
        """Return the names of the views, main view first."""
        return tuple(self.predictor.views)

    @property
    def intact(self) -> Scores:
        """Return the metric without perturbation."""
        return self.scores(Intact())

    @property
    def is_tested(self) -> bool:
        """Whether scores have been computed."""
        return bool(self._scores)

    @cached_property
    def _intact_counts(self) -> np.ndarray:
        return self._counts(Intact())

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the notes of the predictor, and one if the stored scores are not reproduced."""
        stored = np.stack([self._stored.counts[seed] for seed in self.seeds])
        if not self.smoothed or np.array_equal(self._intact_counts, stored):
            return self.predictor.notes
        return (*self.predictor.notes, f"{self.name}: the stored scores are not reproduced on the test frames")

    def scores(self, perturbation: Perturbation) -> Scores:
        """Return the metric under a perturbation; a second call returns the same result."""
        if perturbation not in self._scores:
            counts = self._intact_counts if perturbation == Intact() else self._counts(perturbation)
            self._scores[perturbation] = Scores(*leave_one_out(self.task, counts))
            self.progress.advance()
        return self._scores[perturbation]

    def _counts(self, perturbation: Perturbation) -> np.ndarray:
        """Return the counts (S, U, *shape), pooled over folds."""
        by_seed: dict[int, list[Score]] = {seed: [] for seed in self.seeds}
        with one_thread():
            for head in self._heads:
                by_seed[head.seed].append(self._score(head, perturbation))
        return np.stack([pooled(folds)[0] for folds in by_seed.values()])

    def _score(self, head: TrainedHead, perturbation: Perturbation) -> Score:
        fold_data, features = self.folds[head.fold], self._test_features(head)
        changes = self._changes(head, perturbation, features)
        perturbed: FrameFeatures = (
            PerturbedFeatures.of(features, changes, head.scaling, predict_empty=self.predict_empty)
            if changes
            else features
        )
        probs, _ = head.predict_proba(perturbed, fold_data.test_table, self.predictor.impute)
        return score(fold_data.task, probs, fold_data.sealed)

    def _changes(self, head: TrainedHead, perturbation: Perturbation, features: FrameFeatures) -> dict[str, ViewChange]:
        """Return the changes of the test features; clips of which frames lose a view are pooled again."""
        if not (head.whole_clips and isinstance(perturbation, Occlusion)):
            return perturbation.views(self.folds[head.fold].test_table, features.present)
        if head.fold not in self._occluded or self._occluded[head.fold][0] != perturbation:
            self._occluded[head.fold] = perturbation, self._test_embeddings(head.fold, perturbation)
        _, occluded = self._occluded[head.fold]
        clips = occluded.features({name: head.scaling[name] for name in perturbation.removed})
        return {name: Replaced(ViewFeatures(clips, name)) for name in perturbation.removed}

    def _test_features(self, head: TrainedHead) -> FeaturesInMemory | FeaturesInStore:
        """Return the test features of the fold of a head, read once for all heads with the same scaling."""
        for other, features in self._features_by_head:
            if other.fold == head.fold and _same_scaling(other, head):
                return features
        found = self._test_embeddings(head.fold).features(head.scaling)
        size = 4 * sum(int(np.prod(shape)) for shape in found.shapes.values())
        if isinstance(found, FeaturesInStore) and size <= feature_limit(0, len(self.folds), "cpu"):
            found = found.take(np.arange(len(found.seen)))
        assert isinstance(found, FeaturesInMemory | FeaturesInStore)
        self._features_by_head.append((head, found))
        return found

    def _test_embeddings(self, fold: str, occlusion: Occlusion | None = None) -> Embeddings:
        """Return the embeddings of the test frames of a fold, or of its clips, some of whose frames may lose views."""
        fold_data = self.folds[fold]
        source, rows = fold_data.source, fold_data.rows.test
        found = self.predictor.embed_dataset(source, rows, self.progress)
        if fold_data.labels == "frame":
            return found
        table = source.table.take(rows)
        lost = occlusion.frames(table) if occlusion else None
        return found.of_clips(occlusion.removed if occlusion else self.views, table.clip_index, lost)


def rows_with_regions(results: RunResults) -> list[str]:
    """Return the ids of the rows with an auxiliary view and a finished seed.

    Raises:
        DataError: if there is none.
    """
    found = [row.id for row in results.scored if "," in row.axes.views]
    if not found:
        raise DataError(
            f"{results.folder.path} has no finished row with an auxiliary view", hint="bench one with --regions"
        )
    return found


def _same_scaling(a: TrainedHead, b: TrainedHead) -> bool:
    """Compare the scaling of two heads of a fold; it may differ if they were trained on different machines."""
    return all(
        item.standardize == b.scaling[name].standardize
        and np.array_equal(item.mean, b.scaling[name].mean)
        and np.array_equal(item.scale, b.scaling[name].scale)
        for name, item in a.scaling.items()
    )


def _finished(results: RunResults, match: RowMatch) -> StoredRow:
    entry = match.entry
    cells = [
        cell for cell in entry["cells"] if match.fold in (None, cell["fold"]) and match.seed in (None, cell["seed"])
    ]
    stored = results.load({**entry, "cells": cells})
    if not stored.counts:
        raise DataError(f"{match.name} has no finished seed in {results.folder.path}", hint="run its grid again")
    return stored


def _folds(grid: dict[str, Any], match: RowMatch) -> dict[str, FoldData]:
    """Return the folds of a row by name; all grids of a folder split their data alike."""
    dataset = match.axes.dataset
    grids: Iterable[dict[str, Any]] = (item["description"] for item in grid["grids"])
    task = Spec.parse(match.axes.task)
    found = next((each for each in grids if dataset in each["datasets"] and task in described(each)[2]), None)
    if found is None:
        raise DataError(f"the run folder has no description of the grid of {match.name}", hint="run its grid again")
    folds, _ = open_folds(Spec.parse(dataset), *described(found))
    return {fold_data.fold.name: fold_data.of(task) for fold_data in folds}


def _check_data(folder: RunFolder, stored: StoredRow, folds: dict[str, FoldData]) -> None:
    for (_, fold), cell in stored.cells.items():
        record = folder.read_logits(cell.info["head"]).info["record"]
        fold_data = folds.get(fold)
        stored_data = (record["data"]["fingerprint"], record["fold"]["digest"])
        if fold_data is None or stored_data != (fold_data.source.fingerprint, fold_data.fold.digest):
            raise DataError(
                f"the data of {folder.path} or the code that reads them have changed since the run",
                hint="bench them into a new folder",
            )
