"""Whether a trained row's views matter: what was found, as a table and as records of ``attribution.csv``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from fusionkit.grid.axes import REFERENCE_FUSION, Axes
from fusionkit.grid.results import StoredRow, RunResults
from fusionkit.report.csv_files import AXES
from fusionkit.report.numbers import share_with_interval, signed_with_interval
from fusionkit.stats.intervals import FEW_UNITS, Estimate, paired_difference
from fusionkit.storage.artifact import csv_bytes, write_file

_CONTEXT = ("dataset", "split", "extractor", "backbone", "smoother")


@dataclass(frozen=True)
class ParameterControl:
    """The gain of a row with one auxiliary view, held against the main view twice: the equal-parameter control.

    Attributes:
        alone: the row of the main view alone, with the same fusion where there is one, by name.
        control: the row that has the main view twice, by name.
        parameters: the control less the main view alone.
        region: the row less the control.
        together: the row less the main view alone: the sum of both.
    """

    alone: str
    control: str
    parameters: Estimate
    region: Estimate
    together: Estimate


def gain(results: RunResults, record: dict[str, Any], seeds: list[int]) -> ParameterControl | None:
    """The gain of a row on some of its seeds; None where the folder lacks the control, or the main view alone.

    The main view alone has the same fusion and recipe where there is such a row, else a linear head.

    Args:
        results: of the folder.
        record: of the row.
        seeds: those that count; the other rows must have finished them.
    """
    axes = Axes(**record["axes"])
    views = axes.views.split(",")
    twice = f"{axes.main},{axes.main}#2"
    if axes.main == "none" or len(views) != 2 or axes.views == twice:
        return None
    alike = [each for each in results.grid["rows"] if _same_context(each["axes"], record["axes"])]
    controls = [each for each in alike if each["axes"]["views"] == twice and _same_head(each["axes"], record["axes"])]
    single = [each for each in alike if each["axes"]["views"] == axes.main]  # with --main none, too
    alone = [each for each in single if _same_head(each["axes"], record["axes"])]
    alone += [each for each in single if each["axes"]["fusion"] == str(REFERENCE_FUSION)]
    if not controls or not alone:
        return None
    loaded = [results.load(each) for each in (record, controls[0], alone[0])]
    if not all(set(seeds) <= set(each.counts) and np.array_equal(each.units, loaded[0].units) for each in loaded):
        return None
    row, control, main = (_counts(each, seeds) for each in loaded)
    return ParameterControl(
        Axes(**alone[0]["axes"]).name,
        Axes(**controls[0]["axes"]).name,
        paired_difference(control, main),
        paired_difference(row, control),
        paired_difference(row, main),
    )


def _same_context(a: dict[str, str], b: dict[str, str]) -> bool:
    return all(a[name] == b[name] for name in _CONTEXT)


def _same_head(a: dict[str, str], b: dict[str, str]) -> bool:
    return a["fusion"] == b["fusion"] and a["recipe"] == b["recipe"]


def _counts(loaded: StoredRow, seeds: list[int]) -> np.ndarray:
    return np.stack([loaded.counts[seed] for seed in seeds])


PERTURBATIONS = ("shuffle", "zero", "drop")
MASKED_SHAPLEY = "masked Shapley"
COLUMNS = (
    *AXES,
    *("cell", "seeds", "n_units", "smoothed", "draws", "draw_seed", "view", "measure"),
    *("macro_f1", "macro_f1_lo", "macro_f1_hi", "effect", "effect_lo", "effect_hi"),
)


@dataclass(frozen=True)
class Retested:
    """What was tested, and how.

    Attributes:
        name: of the row or cell.
        id: short.
        axes: of the row.
        seeds: of its heads.
        smoothed: as the cell smooths; else not at all.
        draws: how many were averaged where anything was drawn.
        draw_seed: that they were drawn from.
        intact: macro-F1 with all views as they are.
        notes: what a user should know.
    """

    name: str
    id: str
    axes: Axes
    seeds: list[int]
    smoothed: bool
    draws: int
    draw_seed: int
    intact: Estimate
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """The leading columns of every record."""
        own = {"cell": self.id, "seeds": " ".join(map(str, self.seeds)), "n_units": self.intact.n_units}
        return {
            **asdict(self.axes),
            **own,
            **{name: getattr(self, name) for name in ("smoothed", "draws", "draw_seed")},
        }

    def warnings(self) -> list[str]:
        """What a reader must know before believing the numbers."""
        few = f"only {self.intact.n_units} units were tested: intervals are rough below {FEW_UNITS}"
        return [*self.notes, *([few] if self.intact.few_units else [])]

    def caption(self) -> str:
        """What the numbers rest on."""
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        smoother = f"smoothed as the row is ({self.axes.smoother})" if self.smoothed else "not smoothed"
        draws = f"{self.draws} draw{'s' * (self.draws > 1)} from seed {self.draw_seed}"
        rests = f"{self.intact.n_units:,} units of {self.axes.dataset}; recipe {self.axes.recipe}"
        return f"test: {rests}; {seeds}; {draws}; {smoother}"


@dataclass(frozen=True)
class Effect:
    """A score under a condition, and its difference to the intact row."""

    score: Estimate
    difference: Estimate


@dataclass(frozen=True, eq=False)
class Ablation:
    """What a row makes of its views at test time, with 95 % intervals.

    Attributes:
        tested: which row, and how.
        effects: by view, main view first, and treatment.
        shapley: masked Shapley value by view; they sum to ``tested.intact`` less ``nothing``.
        nothing: macro-F1 where every view is missing: the fusion says the same of every frame.
        gain: over the main view alone, where the folder holds the equal-parameter control.
    """

    tested: Retested
    effects: dict[str, dict[str, Effect]]
    shapley: dict[str, Estimate]
    nothing: Estimate
    gain: ParameterControl | None = None

    def records(self) -> Iterator[dict[str, Any]]:
        """One a line of ``attribution.csv``."""
        yield {"measure": "intact", **score_columns(self.tested.intact)}
        yield {"measure": "all dropped", **score_columns(self.nothing)}
        for view, effects in self.effects.items():
            for treatment, effect in effects.items():
                columns = {**score_columns(effect.score), **columns_of("effect", effect.difference)}
                yield {"view": view, "measure": treatment, **columns}
            yield {"view": view, "measure": MASKED_SHAPLEY, **columns_of("effect", self.shapley[view])}
        if self.gain:
            for part in ("parameters", "region", "together"):
                yield {"measure": f"gain: {part}", **columns_of("effect", getattr(self.gain, part))}


def ablation_table(ablation: Ablation) -> Table:
    """A row a view, the intact row first."""
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=f"{ablation.tested.name}: what its views are worth in macro-F1, 95 %",
        title_justify="left",
    )
    table.add_column("view", overflow="fold")
    for name in (*PERTURBATIONS, MASKED_SHAPLEY):
        table.add_column(name, justify="right", min_width=14)
    for view, effects in ablation.effects.items():
        differences = [effects[name].difference for name in PERTURBATIONS]
        cells = map(signed_with_interval, (*differences, ablation.shapley[view]))
        table.add_row(Text(view), *map(Text, cells))
    return table


def ablation_lines(ablation: Ablation) -> list[str]:
    """The scores that the table starts from, and what the gain over the main view alone consists of."""
    intact, nothing = ablation.tested.intact, ablation.nothing
    lines = [
        f"intact {share_with_interval(intact)}; every view dropped {share_with_interval(nothing)}",
        "shuffle, zero, drop: less intact; masked Shapley: they sum to intact less every view dropped",
    ]
    if ablation.gain:
        found = ablation.gain
        lines += [
            f"gain over {found.alone}: {signed_with_interval(found.together)}",
            f"  more parameters ({found.control}): {signed_with_interval(found.parameters)}",
            f"  the region: {signed_with_interval(found.region)}",
        ]
    return lines


def score_columns(estimate: Estimate) -> dict[str, float]:
    """Macro-F1 with its bounds."""
    return columns_of("macro_f1", estimate)


def columns_of(name: str, estimate: Estimate) -> dict[str, float]:
    """A value with its bounds, ``name``, ``name_lo`` and ``name_hi``."""
    return {name: estimate.value, f"{name}_lo": estimate.low, f"{name}_hi": estimate.high}


def write_ablations(folder: Path, found: Sequence[Ablation]) -> None:
    """Write ``attribution.csv``.

    Raises:
        StorageError: if it cannot be written.
    """
    records = ({**each.tested.record(), **record} for each in found for record in each.records())
    write_file(folder / "attribution.csv", csv_bytes(COLUMNS, records))
