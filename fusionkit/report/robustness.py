"""How a trained row bears missing views: what was found, as tables and as records of ``robustness.csv``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from fusionkit.report.ablation import Effect, Retested, columns_of, score_columns
from fusionkit.report.csv_files import AXES
from fusionkit.report.numbers import share, share_with_interval, signed_with_interval
from fusionkit.stats.intervals import Estimate
from fusionkit.storage.artifact import csv_bytes, write_file

COLUMNS = (
    *AXES,
    *("cell", "seeds", "n_units", "smoothed", "draws", "draw_seed", "pattern", "reference", "measure"),
    *("present", "missing", "level", "macro_f1", "macro_f1_lo", "macro_f1_hi", "effect", "effect_lo", "effect_hi"),
    *("relative", "relative_lo", "relative_hi", "gain", "gain_lo", "gain_hi"),
)


@dataclass(frozen=True)
class Point:
    """One level of a curve.

    Attributes:
        level: fraction of the test frames in which the views are missing.
        effect: score, and difference to the intact row.
        gain: over the late-fusion reference under the same losses; None without one.
    """

    level: float
    effect: Effect
    gain: Estimate | None


@dataclass(frozen=True, eq=False)
class Curve:
    """Macro-F1 while some views are missing in more and more frames.

    Attributes:
        missing: the views, missing together.
        points: by rising level.
        relative: relative robustness: area under the curve by that of a flat one at the intact score; None where that
            score is 0.
        gain: area between the curve and that of the late-fusion reference; None without one.
    """

    missing: tuple[str, ...]
    points: list[Point]
    relative: Estimate | None
    gain: Estimate | None


@dataclass(frozen=True, eq=False)
class Robustness:
    """How a row bears missing views, with 95 % intervals.

    Attributes:
        tested: which row, and how.
        pattern: which frames lose a view together.
        reference: the late-fusion row, by name; empty where the folder has none, or it is the row itself.
        subsets: every subset of the views and what it gives alone, all others missing in every frame; none first.
        curves: one an auxiliary view, and one with all of them where there are several.
    """

    tested: Retested
    pattern: str
    reference: str
    subsets: list[tuple[tuple[str, ...], Effect]]
    curves: list[Curve]

    def shared(self) -> dict[str, Any]:
        """The leading columns of every record."""
        return {**self.tested.record(), "pattern": self.pattern, "reference": self.reference}

    def records(self) -> Iterator[dict[str, Any]]:
        """One a line of ``robustness.csv``; what is not defined is left empty."""
        for present, effect in self.subsets:
            yield {"measure": "subset", "present": ",".join(present), **_effect_columns(effect)}
        for curve in self.curves:
            missing = ",".join(curve.missing)
            for point in curve.points:
                own = {"measure": "occlusion", "missing": missing, "level": point.level}
                yield {**own, **_effect_columns(point.effect), **_known("gain", point.gain)}
            whole = {**_known("relative", curve.relative), **_known("gain", curve.gain)}
            yield {"measure": "area", "missing": missing, **whole}


def subset_table(found: Robustness) -> Table:
    """A row a subset of the views."""
    table = Table(box=None, pad_edge=False, header_style="bold", title=found.tested.name, title_justify="left")
    table.add_column("views present", overflow="fold")
    for name in ("macro-F1 [95 %]", "less intact [95 %]"):
        table.add_column(name, justify="right", min_width=14)
    for present, effect in reversed(found.subsets):
        lacks = len(present) < len(found.subsets[-1][0])
        less = Text(signed_with_interval(effect.difference)) if lacks else Text("intact", style="dim")
        table.add_row(Text(",".join(present) or "none"), Text(share_with_interval(effect.score)), less)
    return table


def curve_table(found: Robustness) -> Table:
    """A row a curve, a column a level."""
    table = Table(box=None, pad_edge=False, header_style="bold")
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
    """Which frames lose views, and what the late-fusion reference is."""
    what = {"frame": "single frames", "run": "a run of frames in every clip", "unit": "all frames of some units"}
    late = found.reference or "the folder has no other logit-mean row of these views"
    return f"missing: {what[found.pattern]}; late fusion: {late}"


def write_robustness(folder: Path, found: Sequence[Robustness]) -> None:
    """Write ``robustness.csv``.

    Raises:
        StorageError: if it cannot be written.
    """
    records = ({**each.shared(), **record} for each in found for record in each.records())
    write_file(folder / "robustness.csv", csv_bytes(COLUMNS, records))


def _effect_columns(effect: Effect) -> dict[str, float]:
    return {**score_columns(effect.score), **columns_of("effect", effect.difference)}


def _known(name: str, estimate: Estimate | None) -> dict[str, float]:
    return columns_of(name, estimate) if estimate else {}
