"""Robust: what a trained row scores while auxiliary views are missing in more and more of its test frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fusionkit.engine.perturb import Occlusion, Pattern, Without
from fusionkit.errors import ConfigError
from fusionkit.grid.lookup import RowMatch
from fusionkit.grid.progress import Progress
from fusionkit.grid.results import RunResults
from fusionkit.predict.ablation import AblationOptions, effect, refuse_many_views, subset_scores, tested
from fusionkit.predict.model_under_test import ModelUnderTest, Scores, rows_with_regions
from fusionkit.registry.spec import Spec
from fusionkit.report.robustness import Curve, Point, Robustness
from fusionkit.stats.intervals import Estimate

LATE_FUSION = "logit-mean"
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


def robust_rows(
    results: RunResults, cells: Sequence[str], how: AblationOptions, pattern: Pattern, progress: Progress
) -> list[Robustness]:
    """Test how some rows bear missing views; as :func:`robustness` and :class:`RetestedRow` raise.

    Args:
        results: of a run's folder.
        cells: as :func:`fusionkit.grid.lookup.find_row` takes them; all finished rows with an auxiliary view where
            empty.
        how: they are tested.
        pattern: which frames lose a view together.
        progress: told of conditions, and of frames that have to be embedded anew.

    Raises:
        ConfigError: if a row has no auxiliary view, or more views than subsets can be gone through.
    """
    found = []
    late: ModelUnderTest | None = None
    for text in cells or rows_with_regions(results):
        row = how.open(results, text, progress, predict_empty=False)
        if len(row.views) == 1:
            raise ConfigError(f"{row.name} has one view: there is no auxiliary view that could be missing")
        refuse_many_views(row)
        wanted = late_fusion(results, row.match)
        if late is None or late.match.entry["id"] != wanted:
            late = how.open(results, wanted, progress, predict_empty=False) if wanted else None
        targets = len(_targets(row))
        occlusions = targets * (len(LEVELS) - 2) * how.draws
        of_late = 0 if late is None or late.is_tested else 1 + targets + occlusions
        with progress.stage("robust", int(2 ** len(row.views)) + occlusions + of_late, "conditions"):
            found.append(robustness(row, late, pattern, how.draws, how.seed))
    return found


def robustness(row: ModelUnderTest, late: ModelUnderTest | None, pattern: Pattern, draws: int, seed: int) -> Robustness:
    """Test a row with its auxiliary views missing in every subset, and in more and more frames.

    A frame that has no view left is imputed as in the run.

    Args:
        row: the row.
        late: the late-fusion reference, tested on the same frames.
        pattern: which frames lose a view together.
        draws: how many choices of frames are averaged.
        seed: that they are drawn from.

    Raises:
        FusionKitError: if a component fails.

    Reference: Liang et al., MultiBench: Multiscale Benchmarks for Multimodal Representation Learning (2021),
    https://arxiv.org/abs/2107.07502, for areas under such curves and the late-fusion baseline. Taking the area by that
    of the intact score, and the gain as the area between both curves, is our reading.
    """
    drawn = _Drawn(pattern, draws, seed)
    return Robustness(
        tested=tested(row, draws, seed),
        pattern=pattern,
        reference=late.name if late else "",
        subsets=[(present, effect(scores, row.intact)) for present, scores in subset_scores(row)],
        curves=[drawn.curve(row, late, missing) for missing in _targets(row)],
    )


def late_fusion(results: RunResults, match: RowMatch) -> str | None:
    """Id of the late-fusion row that has the same views, backbone and smoother; None where there is none.

    One with the same recipe goes before others; late fusion is not its own reference, and a cell of one fold has none.
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
    """Each auxiliary view, and all of them together where there are several."""
    single: list[tuple[str, ...]] = [(view,) for view in row.views[1:]]
    return [*single, row.views[1:]] if len(single) > 1 else single


class _Drawn:
    """Curves, of which every one sees the same choices of frames."""

    def __init__(self, pattern: Pattern, draws: int, seed: int) -> None:
        self.pattern: Pattern = pattern
        self.draws = draws
        self.seed = seed

    def curve(self, row: ModelUnderTest, late: ModelUnderTest | None, missing: tuple[str, ...]) -> Curve:
        """The curve of a row, held against late fusion."""
        scores = list(self._scores(row, missing))
        gains = self._gains(row, scores, late, missing) if late else None
        points = [
            Point(level, effect(each, row.intact), gains[place].estimate() if gains else None)
            for place, (level, each) in enumerate(zip(LEVELS, scores, strict=True))
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
        """At each level on the seeds that both have finished; None where they share none."""
        common = sorted(set(row.seeds) & set(late.seeds))
        if not common:
            return None
        own, other = ([each.seeds.index(seed) for seed in common] for each in (row, late))
        pairs = zip(scores, self._scores(late, missing), strict=True)
        return [mine.of_seeds(own) - theirs.of_seeds(other) for mine, theirs in pairs]

    def _area(self, scores: list[Scores]) -> Scores:
        """Under a curve, by the trapezoidal rule; over levels from 0 to 1 the mean height."""
        full, left_out = (
            np.trapezoid(np.stack([getattr(each, name) for each in scores]), LEVELS, axis=0)
            for name in ("full", "left_out")
        )
        return Scores(full, left_out)


def ratio(area: Scores, intact: Scores) -> Estimate | None:
    """An area by that under a flat curve at the intact score; None where that score is 0 in some seed."""
    if not (intact.full.all() and intact.left_out.all()):
        return None
    return Scores(area.full / intact.full, area.left_out / intact.left_out).estimate((0.0, np.inf))
