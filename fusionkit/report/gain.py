"""What a row gains over the main view alone, divided into what more parameters give and what the region gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionkit.grid.axes import ALONE, Axes
from fusionkit.report.results import Loaded, Results
from fusionkit.stats import Estimate, paired_difference

_CONTEXT = ("dataset", "split", "extractor", "backbone", "smoother")


@dataclass(frozen=True)
class Gain:
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


def gain(results: Results, record: dict[str, Any], seeds: list[int]) -> Gain | None:
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
    alike = [each for each in results.grid["families"] if _same_context(each["axes"], record["axes"])]
    controls = [each for each in alike if each["axes"]["views"] == twice and _same_head(each["axes"], record["axes"])]
    single = [each for each in alike if each["axes"]["views"] == axes.main]  # with --main none, too
    alone = [each for each in single if _same_head(each["axes"], record["axes"])]
    alone += [each for each in single if each["axes"]["fusion"] == str(ALONE)]
    if not controls or not alone:
        return None
    loaded = [results.load(each) for each in (record, controls[0], alone[0])]
    if not all(set(seeds) <= set(each.counts) and np.array_equal(each.units, loaded[0].units) for each in loaded):
        return None
    row, control, main = (_counts(each, seeds) for each in loaded)
    return Gain(
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


def _counts(loaded: Loaded, seeds: list[int]) -> np.ndarray:
    return np.stack([loaded.counts[seed] for seed in seeds])
