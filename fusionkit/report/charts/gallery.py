"""All figures of a run folder, each only where there is something to show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fusionkit.errors import FusionKitError
from fusionkit.grid.results import RunResults
from fusionkit.report.charts.classes import class_figures
from fusionkit.report.charts.cost import cost_figures
from fusionkit.report.charts.figure import Figure
from fusionkit.report.charts.scores import grid_maps, score_figure, smoothing_figures
from fusionkit.report.charts.timelines import timeline_figures
from fusionkit.report.charts.view_values import ablation_figures, robustness_figures, shapley_figures
from fusionkit.report.tested_data import open_tested_data
from fusionkit.storage.artifact import write_file


def figures(results: RunResults) -> Iterator[tuple[str, list[Figure]]]:
    """Sections with the figures that stand in them, those apart that need the data."""
    if not any(row.score for row in results.rows):
        return
    folder = results.folder.path
    sections = {
        "Scores": [*score_figure(results), *grid_maps(results)],
        "Classes": list(class_figures(results)),
        "Smoothing": list(smoothing_figures(results)),
        "What each view is worth": [*shapley_figures(results), *ablation_figures(folder)],
        "Missing views": list(robustness_figures(folder)),
        "Quality against cost": list(cost_figures(results)),
    }
    yield from ((title, found) for title, found in sections.items() if found)


def save_figures(results: RunResults, folder: Path) -> int:
    """Write all figures as SVG files, and say how many they are; timelines only where the data can be opened.

    Raises:
        StorageError: if a file cannot be written.
    """
    found = [figure for _, section in figures(results) for figure in section]
    with suppress(FusionKitError):  # the page says why
        found += timeline_figures(results, open_tested_data(results.grid))
    for figure in found:
        write_file(folder / f"{figure.name}.svg", figure.svg().encode())
    return len(found)
