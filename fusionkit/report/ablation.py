"""Results of ``fusionkit ablate``: effect of each view of a trained row, as a table and as ``attribution.csv``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from fusionkit.grid.axes import Axes
from fusionkit.grid.contrasts import StoredRow, paired_seeds
from fusionkit.grid.results import RunResults
from fusionkit.report.attribution import main_view_alone
from fusionkit.report.csv_files import AXES, estimate_fields
from fusionkit.report.numbers import share_with_interval, signed_with_interval
from fusionkit.report.significance import few_seeds_warnings, few_units_warnings
from fusionkit.report.table import as_text, new_table
from fusionkit.stats.crossed import Estimate
from fusionkit.storage.artifact import csv_bytes, write_file

PERTURBATIONS = ("shuffle", "zero", "drop")
MASKED_SHAPLEY = "masked Shapley"
ATTRIBUTION = "attribution.csv"  # in the run folder
COLUMNS = (
    *AXES,
    *("cell", "seeds", "n_units", "smoothed", "draws", "draw_seed", "view", "measure"),
    *("score", "score_lo", "score_hi", "effect", "effect_lo", "effect_hi"),
)


@dataclass(frozen=True)
class EvaluatedRow:
    """A trained row that was evaluated again.

    Attributes:
        name: name of the row or cell.
        id: short id.
        axes: axes of the row.
        seeds: seeds of its heads.
        smoothed: whether predictions are smoothed as in the run.
        draws: number of random draws that are averaged.
        draw_seed: random seed of the draws.
        metric: name of the metric.
        intact: metric without perturbation.
        notes: messages for the user.
    """

    name: str
    id: str
    axes: Axes
    seeds: list[int]
    smoothed: bool
    draws: int
    draw_seed: int
    metric: str
    intact: Estimate
    notes: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return the leading columns of every line of a CSV file."""
        return {
            **asdict(self.axes),
            "cell": self.id,
            "seeds": " ".join(map(str, self.seeds)),
            "n_units": self.intact.n_units,
            "smoothed": self.smoothed,
            "draws": self.draws,
            "draw_seed": self.draw_seed,
        }

    def warnings(self) -> list[str]:
        """Return limits of the numbers, one line each."""
        return [*self.notes, *few_units_warnings(self.intact.n_units), *few_seeds_warnings(len(self.seeds), "crossed")]

    def caption(self) -> str:
        """Return the test data, seeds, draws and smoothing."""
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        is_smoothed = self.smoothed and self.axes.smoother != "none"
        smoother = f"smoothed by {self.axes.smoother}" if is_smoothed else "not smoothed"
        draws = f"{self.draws} draw{'s' * (self.draws > 1)} with seed {self.draw_seed}"
        units = f"{self.intact.n_units:,} units (subjects or videos) of {self.axes.dataset}"
        methods = "intervals: jackknife-t over units and seeds"
        return f"test: {units}; recipe {self.axes.recipe}; {seeds}; {draws}; {smoother}; {methods}"


@dataclass(frozen=True)
class Effect:
    """A score under a perturbation, and its difference to the intact score."""

    score: Estimate
    difference: Estimate

    def fields(self) -> dict[str, float]:
        """Return the columns of the score and of the difference."""
        return {**estimate_fields("score", self.score), **estimate_fields("effect", self.difference)}


@dataclass(frozen=True)
class ParameterControl:
    """Gain of a row with one auxiliary view, split by the equal-parameter control: the main view as both views.

    Attributes:
        alone: name of the row of the main view alone.
        control: name of the row with the main view as both views.
        parameters: control minus main view alone: gain of more parameters.
        region: row minus control: gain of the region.
        together: row minus main view alone: the sum of both.
    """

    alone: str
    control: str
    parameters: Estimate
    region: Estimate
    together: Estimate


@dataclass(frozen=True, eq=False, repr=False)
class Ablation:
    """Effect of each view at test time, with 95 % intervals.

    Attributes:
        tested: the evaluated row.
        effects: by view, main view first, and by perturbation.
        shapley: masked Shapley value by view; they sum to the intact score minus ``nothing``.
        nothing: metric with every view missing, where the fusion predicts the same for every frame.
        gain: gain over the main view alone, if the folder has the equal-parameter control.
    """

    tested: EvaluatedRow
    effects: dict[str, dict[str, Effect]]
    shapley: dict[str, Estimate]
    nothing: Estimate
    gain: ParameterControl | None = None

    def __repr__(self) -> str:
        """Return the table, the sentences, the caption and the warnings as text."""
        return as_text([ablation_table(self)], [*ablation_lines(self), self.tested.caption()], self.tested.warnings())

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of ``attribution.csv`` by column."""
        yield {"measure": "intact", **estimate_fields("score", self.tested.intact)}
        yield {"measure": "all dropped", **estimate_fields("score", self.nothing)}
        for view, effects in self.effects.items():
            for perturbation, effect in effects.items():
                yield {"view": view, "measure": perturbation, **effect.fields()}
            yield {"view": view, "measure": MASKED_SHAPLEY, **estimate_fields("effect", self.shapley[view])}
        if self.gain:
            for part in ("parameters", "region", "together"):
                yield {"measure": f"gain: {part}", **estimate_fields("effect", getattr(self.gain, part))}


def parameter_control(results: RunResults, entry: dict[str, Any], seeds: list[int]) -> ParameterControl | None:
    """Split the gain of a row; None if the folder lacks the control or the main view alone.

    Args:
        results: results of the run folder.
        entry: entry of the row in ``grid.json``.
        seeds: seeds to use, which the other rows must have finished.
    """
    axes = Axes(**entry["axes"])
    main_twice = f"{axes.main},{axes.main}#2"
    if axes.main == "none" or len(axes.views.split(",")) != 2 or axes.views == main_twice:
        return None
    rows = results.grid["rows"]
    control = next((each for each in rows if each["axes"] == {**entry["axes"], "views": main_twice}), None)
    alone = main_view_alone(axes, rows)
    if control is None or alone is None:
        return None
    own, twice, main = rows = [results.stored[each["id"]] for each in (entry, control, alone)]
    if not all(row.counts for row in rows) or not set(seeds) <= set(paired_seeds(rows)):
        return None
    return ParameterControl(
        Axes(**alone["axes"]).name,
        Axes(**control["axes"]).name,
        *(_difference(results, seeds, a, b) for a, b in ((twice, main), (own, twice), (own, main))),
    )


def _difference(results: RunResults, seeds: Sequence[int], a: StoredRow, b: StoredRow) -> Estimate:
    found = results.contrasts.difference([a], [b], [seeds, seeds])
    assert found is not None
    return found


def ablation_table(ablation: Ablation) -> Table:
    """Return the effects as a table with a line per view."""
    table = new_table(f"{ablation.tested.name}: effect of each view on {ablation.tested.metric}, 95 %")
    table.add_column("view", overflow="fold")
    for name in (*PERTURBATIONS, MASKED_SHAPLEY):
        table.add_column(name, justify="right", min_width=14)
    for view, effects in ablation.effects.items():
        differences = [effects[name].difference for name in PERTURBATIONS]
        cells = map(signed_with_interval, (*differences, ablation.shapley[view]))
        table.add_row(Text(view), *map(Text, cells))
    return table


def ablation_lines(ablation: Ablation) -> list[str]:
    """Return the scores that the effects are relative to, and the parts of the gain over the main view alone."""
    intact, nothing = ablation.tested.intact, ablation.nothing
    lines = [
        f"intact {share_with_interval(intact)}; every view dropped {share_with_interval(nothing)}",
        "shuffle, zero, drop: difference to intact; masked Shapley: sums to intact minus every view dropped",
    ]
    if gain := ablation.gain:
        lines += [
            f"gain over {gain.alone}: {signed_with_interval(gain.together)}",
            f"  more parameters ({gain.control}): {signed_with_interval(gain.parameters)}",
            f"  the region: {signed_with_interval(gain.region)}",
        ]
    return lines


def write_ablations(folder: Path, ablations: Sequence[Ablation]) -> None:
    """Write ``attribution.csv``.

    Raises:
        StorageError: if it cannot be written.
    """
    lines = ({**each.tested.fields(), **line} for each in ablations for line in each.lines())
    write_file(folder / ATTRIBUTION, csv_bytes(COLUMNS, lines))
