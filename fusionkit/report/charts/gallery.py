"""All figures of a run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fusionkit.errors import FusionKitError
from fusionkit.grid.results import RunResults
from fusionkit.report.charts.classes import class_figures
from fusionkit.report.charts.cost import cost_figures
from fusionkit.report.charts.drawing import draw_figures
from fusionkit.report.charts.figure import Figure
from fusionkit.report.charts.scores import grid_maps, score_figure, smoothing_figures
from fusionkit.report.charts.timelines import timeline_figures
from fusionkit.report.charts.view_values import ablation_figures, robustness_figures, shapley_figures
from fusionkit.report.numbers import capital
from fusionkit.report.run_data import open_run_data
from fusionkit.storage.artifact import write_file


def figures(results: RunResults) -> Iterator[tuple[str, list[Figure]]]:
    """Yield headings with their figures, without timelines, which need the data sets; empty sections are left out."""
    if not any(row.score for row in results.rows):
        return
    folder = results.folder.path
    sections = {
        "Scores": [*_of_tasks(score_figure, results), *_of_tasks(grid_maps, results)],
        _parts_heading(results): _of_tasks(class_figures, results),
        "Smoothing": _of_tasks(smoothing_figures, results),
        "Contribution of each view": [
            *_of_tasks(shapley_figures, results),
            *ablation_figures(folder, results.metric),
        ],
        "Missing views": list(robustness_figures(folder, results.metric)),
        f"{capital(results.metric)} by cost": _of_tasks(cost_figures, results),
    }
    yield from ((title, found) for title, found in sections.items() if found)


def _of_tasks(draw: Callable[[RunResults], Iterable[Figure]], results: RunResults) -> list[Figure]:
    """Return the figures of each task, named by the task if there are several."""
    parts = results.by_task()
    if len(parts) == 1:
        return list(draw(results))
    return [
        replace(figure, name=f"task-{number}-{figure.name}", title=f"{figure.title} ({task})")
        for number, (task, part) in enumerate(parts.items(), 1)
        for figure in draw(part)
    ]


def _parts_heading(results: RunResults) -> str:
    """Return the heading of the figures by part: ``Classes``."""
    parts = {capital(row.task.parts) for row in results.rows}
    return parts.pop() if len(parts) == 1 else "Parts of each task"


def save_figures(results: RunResults, folder: Path) -> int:
    """Write all figures as SVG files and return their number; timelines only if the data sets can be opened.

    Raises:
        StorageError: if a file cannot be written.
    """
    found = [figure for _, section in figures(results) for figure in section]
    with suppress(FusionKitError):  # the page states the reason
        found += timeline_figures(results, open_run_data(results.grid))
    svgs = draw_figures(found)
    for figure, svg in zip(found, svgs, strict=True):
        if svg is not None:
            write_file(folder / f"{figure.name}.svg", svg.encode())
    return sum(svg is not None for svg in svgs)
