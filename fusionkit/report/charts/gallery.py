"""All figures of a run folder, each only where there is something to show."""

from __future__ import annotations

from collections.abc import Iterator

from fusionkit.report.charts.classes import class_figures
from fusionkit.report.charts.cost import cost_figures
from fusionkit.report.charts.figure import Figure
from fusionkit.report.charts.grid_map import grid_maps
from fusionkit.report.charts.missing_views import robustness_figures
from fusionkit.report.charts.scores import score_figure
from fusionkit.report.charts.smoothing import smoothing_figures
from fusionkit.report.charts.view_values import ablation_figures, shapley_figures
from fusionkit.report.results import Results


def figures(results: Results) -> Iterator[tuple[str, list[Figure]]]:
    """Sections with the figures that stand in them; none that is empty."""
    if not any(row.score for row in results.rows):
        return
    folder = results.folder.path
    sections = {
        "Rows and the grid": [*score_figure(results), *grid_maps(results)],
        "Classes": list(class_figures(results)),
        "Smoothing": list(smoothing_figures(results)),
        "What each view is worth": [*shapley_figures(results), *ablation_figures(folder)],
        "Missing views": list(robustness_figures(folder)),
        "Quality against cost": list(cost_figures(results)),
    }
    yield from ((title, found) for title, found in sections.items() if found)
