"""Ablate: what a trained row loses when a view's embeddings are shuffled, blank or missing at test time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from fusionkit.engine.perturb import Shuffle, Without, Zero
from fusionkit.errors import ConfigError
from fusionkit.grid.progress import Progress
from fusionkit.grid.results import RunResults
from fusionkit.predict.model_under_test import ModelUnderTest, Scores, rows_with_regions
from fusionkit.report.ablation import Ablation, Effect, Retested, gain
from fusionkit.stats.intervals import Estimate, jackknife_estimate
from fusionkit.stats.shapley import shapley_values

MOST_VIEWS = 10  # of which every subset is tested


@dataclass(frozen=True)
class AblationOptions:
    """How rows are tested.

    Attributes:
        device: where to work.
        smoothed: as each row is; else probabilities stay as they are.
        draws: how many are averaged where anything is drawn, at least one.
        seed: that they are drawn from, not negative.

    Raises:
        ConfigError: if either is out of range.
    """

    device: str = "cpu"
    smoothed: bool = True
    draws: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 1 or self.seed < 0:
            raise ConfigError(f"draws = {self.draws} must be at least 1, and seed = {self.seed} at least 0")

    def open(self, results: RunResults, text: str, progress: Progress, *, predict_empty: bool) -> ModelUnderTest:
        """A row or cell of a folder, ready to be tested; as :class:`RetestedRow` takes its arguments, and raises."""
        return ModelUnderTest(
            results, text, self.device, smoothed=self.smoothed, predict_empty=predict_empty, progress=progress
        )


def ablate_rows(results: RunResults, cells: Sequence[str], how: AblationOptions, progress: Progress) -> list[Ablation]:
    """Test the views of some rows; as :func:`ablate` and :class:`RetestedRow` raise.

    Args:
        results: of a run's folder.
        cells: as :func:`fusionkit.grid.lookup.find_row` takes them; all finished rows with an auxiliary view where
            empty.
        how: they are tested.
        progress: told of conditions, and of frames that have to be embedded anew.
    """
    found = []
    for text in cells or rows_with_regions(results):
        row = how.open(results, text, progress, predict_empty=True)
        views = len(row.views)
        refuse_many_views(row)
        with progress.stage("ablate", views * (how.draws + 1) + int(2**views), "conditions"):
            found.append(ablate(row, results, how.draws, how.seed))
    return found


def ablate(row: ModelUnderTest, results: RunResults, draws: int, seed: int) -> Ablation:
    """Test every view of a row.

    Shuffling is the permutation importance of a view, with its sign turned. The masked Shapley value of a view is its
    share in what all views give over none, where a view that is not in a subset is missing in every frame; the heads
    stay as they are, which tells it from a value whose heads are trained anew for every subset. A frame that has no
    view left is not imputed but put to the fusion: a view that a fusion never looks at is worth exactly nothing.

    Args:
        row: the row.
        results: of its folder, where the equal-parameter control is looked for.
        draws: how many shuffles are averaged.
        seed: that they are drawn from.

    Raises:
        FusionKitError: if a component fails.

    Reference: Fisher, Rudin & Dominici, All models are wrong, but many are useful (2019), JMLR 20 (177), for shuffling;
    Lundberg & Lee, A unified approach to interpreting model predictions (2017), https://arxiv.org/abs/1705.07874, for
    Shapley values of a trained model. That an absent view is what the fusion takes as missing is our reading.
    """
    subsets = [scores for _, scores in subset_scores(row)]
    dropped = {view: subsets[len(subsets) - 1 - (1 << bit)] for bit, view in enumerate(row.views)}

    def treated(view: str) -> dict[str, Effect]:
        shuffles = [row.scores(Shuffle(view, seed, draw)) for draw in range(draws)]
        found = {"shuffle": Scores.mean(shuffles), "zero": row.scores(Zero(view)), "drop": dropped[view]}
        return {name: effect(scores, row.intact) for name, scores in found.items()}

    return Ablation(
        tested=tested(row, draws, seed),
        effects={view: treated(view) for view in row.views},
        shapley=_shapley(row.views, subsets),
        nothing=subsets[0].estimate((0.0, 1.0)),
        gain=gain(results, row.match.entry, row.seeds) if row.match.fold is None else None,
    )


def refuse_many_views(row: ModelUnderTest) -> None:
    """Refuse a row of more views than subsets can be gone through.

    Raises:
        ConfigError: if it has.
    """
    if len(row.views) > MOST_VIEWS:
        raise ConfigError(
            f"{row.name} has {len(row.views)} views: every subset of at most {MOST_VIEWS} can be tested",
            hint="2**V of them are gone through",
        )


def tested(row: ModelUnderTest, draws: int, seed: int) -> Retested:
    """What was tested, and how."""
    intact = row.intact.estimate((0.0, 1.0))
    match = row.match
    return Retested(row.name, match.id, match.axes, row.seeds, row.smoothed, draws, seed, intact, row.notes)


def effect(scores: Scores, intact: Scores) -> Effect:
    """A score, and its difference to the intact row."""
    return Effect(scores.estimate((0.0, 1.0)), (scores - intact).estimate())


def subset_scores(row: ModelUnderTest) -> list[tuple[tuple[str, ...], Scores]]:
    """Every subset of a row's views with the scores that it gives where all others are missing, none first.

    Bit i of a subset's place says whether view i is there.
    """
    found = []
    for number in range(1 << len(row.views)):
        there = [bool(number >> bit & 1) for bit in range(len(row.views))]
        lost = tuple(compress(row.views, [not flag for flag in there]))
        found.append((tuple(compress(row.views, there)), row.scores(Without(lost)) if lost else row.intact))
    return found


def _shapley(views: tuple[str, ...], subsets: list[Scores]) -> dict[str, Estimate]:
    full = shapley_values(np.stack([scores.full for scores in subsets]))
    left_out = shapley_values(np.stack([scores.left_out for scores in subsets]))
    return {view: jackknife_estimate(full[place], left_out[place]) for place, view in enumerate(views)}
