"""A trained row of a run folder on its own test frames again, under other conditions than those it was scored under."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fusionkit.engine.features import FeaturesInMemory, FeaturesInStore, FrameFeatures
from fusionkit.engine.fold import FoldData, open_folds
from fusionkit.engine.perturb import Intact, Perturbation, PerturbedFeatures
from fusionkit.engine.score import Score, score
from fusionkit.errors import DataError
from fusionkit.grid.folder import RunFolder
from fusionkit.grid.lookup import RowMatch, find_row
from fusionkit.grid.memory import feature_limit
from fusionkit.grid.progress import Progress
from fusionkit.grid.results import RunResults, StoredRow, pooled
from fusionkit.predict.predictor import Predictor, one_thread
from fusionkit.predict.stored_cell import open_cell
from fusionkit.predict.trained_head import TrainedHead
from fusionkit.registry import SMOOTHERS
from fusionkit.registry.spec import Spec
from fusionkit.stats.intervals import Estimate, jackknife_estimate, leave_one_out

UNSMOOTHED = Spec("none")


@dataclass(frozen=True, eq=False)
class Scores:
    """Macro-F1, or what was made of it, on S seeds and U units.

    Attributes:
        full: (S,).
        left_out: (S, U): without each unit.
    """

    full: np.ndarray
    left_out: np.ndarray

    def __sub__(self, other: Scores) -> Scores:
        return Scores(self.full - other.full, self.left_out - other.left_out)

    def estimate(self, within: tuple[float, float] = (-1.0, 1.0)) -> Estimate:
        """Its mean over seeds with a 95 % interval; ``within`` is the least and the most that it can be."""
        return jackknife_estimate(self.full, self.left_out, within=within)

    def of_seeds(self, places: Sequence[int]) -> Scores:
        """Of some of the seeds."""
        return Scores(self.full[list(places)], self.left_out[list(places)])

    @classmethod
    def mean(cls, scores: Sequence[Scores]) -> Scores:
        """Over draws."""
        return cls(np.mean([each.full for each in scores], axis=0), np.mean([each.left_out for each in scores], axis=0))


class ModelUnderTest:
    """The finished heads of a row, or of one seed or cell of it, with the test frames of their folds.

    Args:
        results: of the run's folder.
        text: as :func:`fusionkit.grid.lookup.find_row` takes it.
        device: where to work.
        smoothed: smooth as the cell does; else probabilities stay as they are.
        predict_empty: run the fusion on frames that have lost every view; else they are imputed as in the run.
        progress: told of frames that have to be embedded anew.

    Raises:
        ConfigError: if the text stands for nothing or for several.
        DataError: if no seed of the row is finished, or its data are missing or have changed.
        FusionKitError: if a component fails.
    """

    def __init__(
        self, results: RunResults, text: str, device: str, *, smoothed: bool, predict_empty: bool, progress: Progress
    ) -> None:
        self.match = find_row(results.grid, text)
        self.predictor: Predictor = open_cell(results.folder, text, device)
        self.progress = progress
        self._stored = _stored(results, self.match)
        self.seeds = sorted(self._stored.counts)
        self.folds = _folds(results.grid, self.match)
        _check_data(results.folder, self._stored, self.folds)
        heads = [head for head in self.predictor.heads if head.seed in self.seeds]
        plain = [replace(head, smoother=SMOOTHERS.build(UNSMOOTHED)) for head in heads]
        self._heads = heads if smoothed else plain
        self.smoothed = smoothed
        self.predict_empty = predict_empty
        self._found: dict[Perturbation, Scores] = {}
        self._features_by_head: list[tuple[TrainedHead, FeaturesInMemory | FeaturesInStore]] = []
        for head in heads:
            self._test_features(head)

    @property
    def name(self) -> str:
        """``views/fusion/smoother[/seed]``."""
        return self.match.name

    @property
    def views(self) -> tuple[str, ...]:
        """By name, main view first."""
        return tuple(self.predictor.views)

    @property
    def intact(self) -> Scores:
        """Macro-F1 with nothing done to any view."""
        return self.scores(Intact())

    @property
    def is_tested(self) -> bool:
        """Whether it has been tested under any perturbation."""
        return bool(self._found)

    @cached_property
    def _intact_counts(self) -> np.ndarray:
        return self._counts(Intact())

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know."""
        stored = np.stack([self._stored.counts[seed] for seed in self.seeds])
        if not self.smoothed or np.array_equal(self._intact_counts, stored):
            return self.predictor.notes
        new = f"{self.name}: predicted anew, the test frames do not give the scores that are stored"
        return (*self.predictor.notes, new)

    def scores(self, perturbation: Perturbation) -> Scores:
        """Macro-F1 under a perturbation, tested once."""
        if perturbation not in self._found:
            counts = self._intact_counts if perturbation == Intact() else self._counts(perturbation)
            self._found[perturbation] = Scores(*leave_one_out(counts))
            self.progress.advance()
        return self._found[perturbation]

    def _counts(self, perturbation: Perturbation) -> np.ndarray:
        """(S, U, C, C), folds pooled."""
        found: dict[int, list[Score]] = {seed: [] for seed in self.seeds}
        with one_thread():
            for head in self._heads:
                found[head.seed].append(self._score(head, perturbation))
        return np.stack([pooled(parts)[0] for parts in found.values()])

    def _score(self, head: TrainedHead, perturbation: Perturbation) -> Score:
        fold_data, features = self.folds[head.fold], self._test_features(head)
        changes = perturbation.views(fold_data.test_table, features.present)
        perturbed: FrameFeatures = (
            PerturbedFeatures.of(features, changes, head.scaling, predict_empty=self.predict_empty)
            if changes
            else features
        )
        probs, _ = head.probabilities_of(perturbed, fold_data.test_table, self.predictor.impute)
        return score(fold_data.task, probs, fold_data.sealed)

    def _test_features(self, head: TrainedHead) -> FeaturesInMemory | FeaturesInStore:
        """The test features of the head's fold, read once for all heads with the same scaling."""
        for other, features in self._features_by_head:
            if other.fold == head.fold and _same_scaling(other, head):
                return features
        fold_data = self.folds[head.fold]
        embeddings = self.predictor.embed_dataset(fold_data.source, fold_data.rows.test, self.progress)
        found = embeddings.features(head.scaling)
        size = 4 * sum(int(np.prod(shape)) for shape in found.shapes.values())
        if isinstance(found, FeaturesInStore) and size <= feature_limit(0, len(self.folds), "cpu"):
            found = found.take(np.arange(len(found.seen)))
        assert isinstance(found, FeaturesInMemory | FeaturesInStore)
        self._features_by_head.append((head, found))
        return found


def rows_with_regions(results: RunResults) -> list[str]:
    """Ids of the rows that have an auxiliary view and a finished seed.

    Raises:
        DataError: if there is none.
    """
    records = results.grid["rows"]
    found = [each["id"] for each in records if "," in each["axes"]["views"] and results.load(each).counts]
    if not found:
        raise DataError(f"{results.folder.path} has no finished row with an auxiliary view", hint="bench one")
    return found


def _same_scaling(a: TrainedHead, b: TrainedHead) -> bool:
    """Heads of one fold differ in it only where they were made on different machines."""
    return all(
        item.standardize == b.scaling[name].standardize
        and np.array_equal(item.mean, b.scaling[name].mean)
        and np.array_equal(item.scale, b.scaling[name].scale)
        for name, item in a.scaling.items()
    )


def _stored(results: RunResults, match: RowMatch) -> StoredRow:
    record = match.entry
    cells = [
        cell for cell in record["cells"] if match.fold in (None, cell["fold"]) and match.seed in (None, cell["seed"])
    ]
    loaded = results.load({**record, "cells": cells})
    if not loaded.counts:
        raise DataError(f"{match.name} has no finished seed in {results.folder.path}", hint="run its grid again")
    return loaded


def _folds(grid: dict[str, Any], match: RowMatch) -> dict[str, FoldData]:
    """The folds that a row was tested in, by name; all grids of a folder divide their data alike."""
    dataset = match.axes.dataset
    described: Iterable[dict[str, Any]] = (item["description"] for item in grid["grids"])
    found = next((each for each in described if dataset in each["datasets"]), None)
    if found is None:
        raise DataError(f"the grid of {match.name} is not noted in its folder", hint="run its grid again")
    folds, _ = open_folds(Spec.parse(dataset), Spec.parse(found["split"]), found["limit"])
    return {fold_data.fold.name: fold_data for fold_data in folds}


def _check_data(folder: RunFolder, stored: StoredRow, folds: dict[str, FoldData]) -> None:
    for (_, fold), cell in stored.cells.items():
        record = folder.read_logits(cell.info["head"]).info["record"]
        fold_data = folds.get(fold)
        if fold_data is None or (record["data"]["fingerprint"], record["fold"]["digest"]) != _identity(fold_data):
            raise DataError(
                f"the data of {folder.path} have changed since they were tested on, or are read by other code",
                hint="bench them in a folder of their own",
            )


def _identity(fold_data: FoldData) -> tuple[str, str]:
    return fold_data.source.fingerprint, fold_data.fold.digest
