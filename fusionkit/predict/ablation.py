"""Measure the score drop of trained rows when a view is shuffled, blanked or removed at test time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import compress
from typing import ClassVar

import numpy as np

from fusionkit.contracts.option_types import Count, Natural
from fusionkit.engine.perturb import Shuffle, Without, Zero
from fusionkit.errors import ConfigError
from fusionkit.grid.progress import Progress
from fusionkit.grid.results import RunResults
from fusionkit.predict.model_under_test import ModelUnderTest, Scores, rows_with_regions
from fusionkit.registry.options import check_options
from fusionkit.report.ablation import Ablation, Effect, EvaluatedRow, parameter_control
from fusionkit.stats.crossed import Estimate, estimate
from fusionkit.stats.shapley import shapley_values

MAX_VIEWS = 10  # of a row: every subset of them is tested


@dataclass(frozen=True)
class AblationOptions:
    """How rows are evaluated again.

    Attributes:
        device: torch device.
        smoothed: smooth the probabilities as in the run.
        draws: number of random draws to average, at least 1.
        seed: random seed of the draws, at least 0.

    Raises:
        ConfigError: with every value that is of another type or out of range.
    """

    provided: ClassVar[tuple[str, ...]] = ()

    device: str = "cpu"
    smoothed: bool = True
    draws: Count = 10
    seed: Natural = 0

    def __post_init__(self) -> None:
        if problems := check_options(AblationOptions, asdict(self)):
            raise ConfigError(problems)

    def open(self, results: RunResults, text: str, progress: Progress, *, predict_empty: bool) -> ModelUnderTest:
        """Return a row or cell with these options; arguments and errors are those of :class:`ModelUnderTest`."""
        return ModelUnderTest(
            results, text, self.device, smoothed=self.smoothed, predict_empty=predict_empty, progress=progress
        )


def ablate_rows(
    results: RunResults, cells: Sequence[str], options: AblationOptions, progress: Progress
) -> list[Ablation]:
    """Measure the effect of each view of rows; errors are those of :class:`ModelUnderTest` and :func:`ablate`.

    Args:
        results: of the run folder.
        cells: rows or cells, as :func:`fusionkit.grid.lookup.find_row` takes them; if empty, all finished rows with an
            auxiliary view.
        options: of the evaluation.
        progress: counts perturbations, and frames that are embedded again.
    """
    found = []
    for text in cells or rows_with_regions(results):
        row = options.open(results, text, progress, predict_empty=True)
        views = len(row.views)
        check_view_count(row)
        with progress.stage("ablate", views * (options.draws + 1) + int(2**views), "perturbations"):
            found.append(ablate(row, results, options.draws, options.seed))
    return found


def ablate(row: ModelUnderTest, results: RunResults, draws: int, seed: int) -> Ablation:
    """Measure the effect of each view of a row.

    The effect of shuffling is the negative permutation importance of a view. The masked Shapley value of a view is its
    share in the score of all views minus that of none, where a view outside a subset is missing in every frame. The
    heads are not trained again, unlike for the Shapley values of ``report/attribution``. A frame without any view is
    predicted by the fusion, not imputed: a view that the fusion ignores has exactly the value 0.

    Args:
        row: the row.
        results: of its run folder, which may have the equal-parameter control.
        draws: number of shuffles to average.
        seed: random seed of the shuffles.

    Raises:
        FusionKitError: if a component fails.

    Reference: Fisher, Rudin & Dominici, All models are wrong, but many are useful (2019), JMLR 20 (177), for shuffling;
    Lundberg & Lee, A unified approach to interpreting model predictions (2017), https://arxiv.org/abs/1705.07874, for
    Shapley values of a trained model. That an absent view is a missing view of the fusion is our interpretation.
    """
    subsets = [scores for _, scores in subset_scores(row)]
    dropped = {view: subsets[len(subsets) - 1 - (1 << bit)] for bit, view in enumerate(row.views)}

    def effects(view: str) -> dict[str, Effect]:
        shuffles = [row.scores(Shuffle(view, seed, draw)) for draw in range(draws)]
        perturbed = {"shuffle": Scores.mean(shuffles), "zero": row.scores(Zero(view)), "drop": dropped[view]}
        return {name: effect(row, scores) for name, scores in perturbed.items()}

    return Ablation(
        tested=tested(row, draws, seed),
        effects={view: effects(view) for view in row.views},
        shapley=_shapley(row.views, subsets),
        nothing=subsets[0].estimate((row.task.least, 1.0)),
        gain=parameter_control(results, row.match.entry, row.seeds) if row.match.fold is None else None,
    )


def check_view_count(row: ModelUnderTest) -> None:
    """Raise :class:`ConfigError` for a row with too many views to test every subset."""
    if len(row.views) > MAX_VIEWS:
        raise ConfigError(
            f"{row.name} has {len(row.views)} views; at most {MAX_VIEWS} can be tested",
            hint=f"all 2**{len(row.views)} subsets would be tested",
        )


def tested(row: ModelUnderTest, draws: int, seed: int) -> EvaluatedRow:
    """Return the description of an evaluated row for a report."""
    intact = row.intact.estimate((row.task.least, 1.0))
    match = row.match
    return EvaluatedRow(
        row.name, match.id, match.axes, row.seeds, row.smoothed, draws, seed, row.metric, intact, row.notes
    )


def effect(row: ModelUnderTest, scores: Scores) -> Effect:
    """Return a score and its difference to the intact score of a row."""
    least = row.task.least
    return Effect(scores.estimate((least, 1.0)), (scores - row.intact).estimate((least - 1, 1 - least)))


def subset_scores(row: ModelUnderTest) -> list[tuple[tuple[str, ...], Scores]]:
    """Return each subset of the views with the scores where all other views are missing.

    View i is in the subset with index k if bit i of k is set; the empty subset is first.
    """
    found = []
    for subset in range(1 << len(row.views)):
        present = [bool(subset >> bit & 1) for bit in range(len(row.views))]
        missing = tuple(compress(row.views, [not flag for flag in present]))
        found.append((tuple(compress(row.views, present)), row.scores(Without(missing)) if missing else row.intact))
    return found


def _shapley(views: tuple[str, ...], subsets: list[Scores]) -> dict[str, Estimate]:
    full = shapley_values(np.stack([scores.full for scores in subsets]))
    left_out = shapley_values(np.stack([scores.left_out for scores in subsets]))
    return {view: estimate(full[index], left_out[index]) for index, view in enumerate(views)}
