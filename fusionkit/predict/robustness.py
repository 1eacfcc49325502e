"""Measure the scores of trained rows while auxiliary views are missing in a growing fraction of the test frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fusionkit.engine.perturb import Occlusion, Pattern, Without
from fusionkit.errors import ConfigError
from fusionkit.grid.lookup import RowMatch
from fusionkit.grid.progress import Progress
from fusionkit.grid.results import RunResults
from fusionkit.predict.ablation import AblationOptions, check_view_count, effect, subset_scores, tested
from fusionkit.predict.model_under_test import ModelUnderTest, Scores, rows_with_regions
from fusionkit.registry.spec import Spec
from fusionkit.report.robustness import Curve, Point, Robustness
from fusionkit.stats.crossed import Estimate

LATE_FUSION = "logit-mean"
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


def robust_rows(
    results: RunResults, cells: Sequence[str], options: AblationOptions, pattern: Pattern, progress: Progress
) -> list[Robustness]:
    """Measure the robustness of rows; other errors are those of :class:`ModelUnderTest` and :func:`robustness`.

    Args:
        results: of the run folder.
        cells: rows or cells, as :func:`fusionkit.grid.lookup.find_row` takes them; if empty, all finished rows with an
            auxiliary view.
        options: of the evaluation.
        pattern: which frames lose a view together.
        progress: counts perturbations, and frames that are embedded again.

    Raises:
        ConfigError: if a row has no auxiliary view, or too many views to test every subset.
    """
    found = []
    late: ModelUnderTest | None = None
    for text in cells or rows_with_regions(results):
        row = options.open(results, text, progress, predict_empty=False)
        if len(row.views) == 1:
            raise ConfigError(f"{row.name} has no auxiliary view that could be missing", hint="choose another row")
        check_view_count(row)
        wanted = late_fusion(results, row.match)
        if late is None or late.match.entry["id"] != wanted:
            late = options.open(results, wanted, progress, predict_empty=False) if wanted else None
        targets = len(_targets(row))
        occlusions = targets * (len(LEVELS) - 2) * options.draws
        of_late = 0 if late is None or late.is_tested else 1 + targets + occlusions
        with progress.stage("robust", int(2 ** len(row.views)) + occlusions + of_late, "perturbations"):
            found.append(robustness(row, late, pattern, options.draws, options.seed))
    return found


def robustness(row: ModelUnderTest, late: ModelUnderTest | None, pattern: Pattern, draws: int, seed: int) -> Robustness:
    """Score a row with every subset of its views, and with auxiliary views missing in a growing fraction of frames.

    A frame without any view is imputed as in the run.

    Args:
        row: the row.
        late: late-fusion reference, evaluated on the same frames.
        pattern: which frames lose a view together.
        draws: number of random choices of frames to average.
        seed: random seed of the choices.

    Raises:
        FusionKitError: if a component fails.

    Reference: Liang et al., MultiBench: Multiscale Benchmarks for Multimodal Representation Learning (2021),
    https://arxiv.org/abs/2107.07502, for areas under such curves and the late-fusion baseline. Dividing the area by
    that of the intact score, and the gain as the area between both curves, are our choices.
    """
    test = _OcclusionTest(pattern, draws, seed)
    return Robustness(
        tested=tested(row, draws, seed),
        pattern=pattern,
        reference=late.name if late else "",
        subsets=[(present, effect(row, scores)) for present, scores in subset_scores(row)],
        curves=[test.curve(row, late, missing) for missing in _targets(row)],
    )


def late_fusion(results: RunResults, match: RowMatch) -> str | None:
    """Return the id of the late-fusion row with the same views, backbone and smoother; None if there is none.

    A row with the same recipe is preferred. A late-fusion row has no reference, nor has a cell of one fold.
    """
    own = match.entry["axes"]
    found = [
        record
        for record in results.grid["rows"]
        if Spec.parse(record["axes"]["fusion"]).name == LATE_FUSION
        and all(own[name] == value for name, value in record["axes"].items() if name not in ("fusion", "recipe"))
        and results.load(record).counts
    ]
    found.sort(key=lambda record: bool(record["axes"]["recipe"] != own["recipe"]))
    if Spec.parse(own["fusion"]).name == LATE_FUSION or not found or match.fold is not None:
        return None
    name: str = found[0]["id"]
    return name


def _targets(row: ModelUnderTest) -> list[tuple[str, ...]]:
    """Return each auxiliary view, and all of them together if there are several."""
    single: list[tuple[str, ...]] = [(view,) for view in row.views[1:]]
    return [*single, row.views[1:]] if len(single) > 1 else single


@dataclass(frozen=True)
class _OcclusionTest:
    """Curves over the fraction of frames with missing views, all with the same random choices of frames."""

    pattern: Pattern
    draws: int
    seed: int

    def curve(self, row: ModelUnderTest, late: ModelUnderTest | None, missing: tuple[str, ...]) -> Curve:
        """Return the curve of a row, compared to late fusion."""
        scores = list(self._scores(row, missing))
        gains = self._gains(row, scores, late, missing) if late else None
        points = [
            Point(level, effect(row, each), gains[index].estimate() if gains else None)
            for index, (level, each) in enumerate(zip(LEVELS, scores, strict=True))
        ]
        area = self._area(scores)
        return Curve(missing, points, ratio(area, row.intact), self._area(gains).estimate() if gains else None)

    def _scores(self, row: ModelUnderTest, missing: tuple[str, ...]) -> Iterator[Scores]:
        for level in LEVELS:
            if level in (0, 1):
                yield row.scores(Without(missing)) if level else row.intact
            else:
                occlusions = (Occlusion(missing, level, self.pattern, self.seed, draw) for draw in range(self.draws))
                yield Scores.mean([row.scores(occlusion) for occlusion in occlusions])

    def _gains(
        self, row: ModelUnderTest, scores: list[Scores], late: ModelUnderTest, missing: tuple[str, ...]
    ) -> list[Scores] | None:
        """Return the gain over late fusion at each level, on common seeds; None without a common seed."""
        common = sorted(set(row.seeds) & set(late.seeds))
        if not common:
            return None
        own, other = ([each.seeds.index(seed) for seed in common] for each in (row, late))
        pairs = zip(scores, self._scores(late, missing), strict=True)
        return [mine.of_seeds(own) - theirs.of_seeds(other) for mine, theirs in pairs]

    def _area(self, scores: list[Scores]) -> Scores:
        """Return the area under a curve by the trapezoidal rule; levels go from 0 to 1, so it is the mean height."""
        full, left_out = (
            np.trapezoid(np.stack([getattr(each, name) for each in scores]), LEVELS, axis=0)
            for name in ("full", "left_out")
        )
        return Scores(full, left_out)


def ratio(area: Scores, intact: Scores) -> Estimate | None:
    """Return an area divided by the area at the intact score; None if that score is 0 for a seed."""
    if not (intact.full.all() and intact.left_out.all()):
        return None
    return Scores(area.full / intact.full, area.left_out / intact.left_out).estimate((0.0, np.inf))
