"""Results of ``fusionkit robust``: scores of a trained row with missing views, as tables and ``robustness.csv``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from fusionkit.report.ablation import Effect, EvaluatedRow
from fusionkit.report.csv_files import AXES, estimate_fields
from fusionkit.report.numbers import share, share_with_interval, signed_with_interval
from fusionkit.report.table import as_text, new_table
from fusionkit.stats.crossed import Estimate
from fusionkit.storage.artifact import csv_bytes, write_file

ROBUSTNESS = "robustness.csv"  # in the run folder
COLUMNS = (
    *AXES,
    *("cell", "seeds", "n_units", "smoothed", "draws", "draw_seed", "pattern", "reference", "measure"),
    *("present", "missing", "level", "score", "score_lo", "score_hi", "effect", "effect_lo", "effect_hi"),
    *("relative", "relative_lo", "relative_hi", "gain", "gain_lo", "gain_hi"),
)
# Frames in which views are missing, by pattern.
PATTERN_TEXTS = {"frame": "single frames", "run": "a run of frames in every clip", "unit": "all frames of some units"}


@dataclass(frozen=True)
class Point:
    """One level of a curve.

    Attributes:
        level: fraction of the test frames in which the views are missing.
        effect: score, and difference to the intact score.
        gain: difference to the late-fusion reference with the same missing views; None without one.
    """

    level: float
    effect: Effect
    gain: Estimate | None


@dataclass(frozen=True, eq=False)
class Curve:
    """Metric with some views missing in a growing fraction of frames.

    Attributes:
        missing: the views, missing together.
        points: by rising level.
        relative: relative robustness: area under the curve divided by that of a flat curve at the intact score; None
            if that score is 0.
        gain: area between the curve and that of the late-fusion reference; None without one.
    """

    missing: tuple[str, ...]
    points: list[Point]
    relative: Estimate | None
    gain: Estimate | None


@dataclass(frozen=True, eq=False, repr=False)
class Robustness:
    """Scores of a row with missing views, with 95 % intervals.

    Attributes:
        tested: the evaluated row.
        pattern: which frames lose a view together, see :data:`PATTERN_TEXTS`.
        reference: name of the late-fusion row; empty if the folder has none, or it is the row itself.
        subsets: every subset of the views and its score with all others missing in every frame; the empty one first.
        curves: one per auxiliary view, and one with all of them if there are several.
    """

    tested: EvaluatedRow
    pattern: str
    reference: str
    subsets: list[tuple[tuple[str, ...], Effect]]
    curves: list[Curve]

    def __repr__(self) -> str:
        """Return the tables, the caption and the warnings as text."""
        caption = [curve_caption(self), self.tested.caption()]
        return as_text([subset_table(self), curve_table(self)], caption, self.tested.warnings())

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of ``robustness.csv`` by column."""
        for present, effect in self.subsets:
            yield {"measure": "subset", "present": ",".join(present), **effect.fields()}
        for curve in self.curves:
            missing = ",".join(curve.missing)
            for point in curve.points:
                yield {
                    "measure": "occlusion",
                    "missing": missing,
                    "level": point.level,
                    **point.effect.fields(),
                    **estimate_fields("gain", point.gain),
                }
            areas = {**estimate_fields("relative", curve.relative), **estimate_fields("gain", curve.gain)}
            yield {"measure": "area", "missing": missing, **areas}


def subset_table(found: Robustness) -> Table:
    """Return the scores of all subsets as a table, all views first."""
    table = new_table(found.tested.name)
    table.add_column("views present", overflow="fold")
    for name in (f"{found.tested.metric} [95 %]", "difference to intact [95 %]"):
        table.add_column(name, justify="right", min_width=14)
    all_views = found.subsets[-1][0]
    for present, effect in reversed(found.subsets):
        is_intact = len(present) == len(all_views)
        difference = Text("intact", style="dim") if is_intact else Text(signed_with_interval(effect.difference))
        table.add_row(Text(",".join(present) or "none"), Text(share_with_interval(effect.score)), difference)
    return table


def curve_table(found: Robustness) -> Table:
    """Return the curves as a table with a line per curve and a column per level."""
    table = new_table()
    table.add_column("views missing", overflow="fold")
    for point in found.curves[0].points:
        table.add_column(f"in {100 * point.level:g} %", justify="right", no_wrap=True)
    table.add_column("relative robustness [95 %]", justify="right", min_width=12)
    if found.reference:
        table.add_column("gain over late fusion [95 %]", justify="right", min_width=14)
    for curve in found.curves:
        cells = [share(point.effect.score.value) for point in curve.points]
        cells.append(share_with_interval(curve.relative) if curve.relative else "-")
        if found.reference:
            cells.append(signed_with_interval(curve.gain) if curve.gain else "-")
        table.add_row(Text(",".join(curve.missing)), *map(Text, cells))
    return table


def curve_caption(found: Robustness) -> str:
    """Return the pattern of missing frames and the late-fusion reference."""
    late = found.reference or "the folder has no other logit-mean row of these views"
    return f"missing: {PATTERN_TEXTS[found.pattern]}; late fusion: {late}"


def write_robustness(folder: Path, found: Sequence[Robustness]) -> None:
    """Write ``robustness.csv``.

    Raises:
        StorageError: if it cannot be written.
    """
    lines = (
        {**each.tested.fields(), "pattern": each.pattern, "reference": each.reference, **line}
        for each in found
        for line in each.lines()
    )
    write_file(folder / ROBUSTNESS, csv_bytes(COLUMNS, lines))
