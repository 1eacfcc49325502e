"""Put ``report.html`` together and write it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionkit._version import __version__
from fusionkit.errors import FusionKitError, cause_of
from fusionkit.grid.axes import Axes
from fusionkit.grid.results import RunResults
from fusionkit.report import answer as answers
from fusionkit.report import significance as standing
from fusionkit.report.charts.figure import Figure, unchecked
from fusionkit.report.charts.gallery import figures
from fusionkit.report.charts.timelines import timeline_figures
from fusionkit.report.page.pictures import Picture, picture
from fusionkit.report.page.provenance import origins
from fusionkit.report.page.table import page_table
from fusionkit.report.ranks import ranks
from fusionkit.report.row_names import RowNames, varying
from fusionkit.report.table import caption, warnings
from fusionkit.report.tested_data import TestedData
from fusionkit.storage.artifact import write_file

if TYPE_CHECKING:
    from markupsafe import Markup


NAME = "report.html"
_ERRORS_SHOWN = 50


@dataclass(frozen=True, eq=False)
class Failure:
    """What went wrong, and the cells in which it did."""

    message: str
    cells: list[str]


class Page:
    """The report of a folder.

    Args:
        results: of the folder.
        data: that could be opened, for timelines and pictures.
        pictures: show frames; faces of people are in most data sets, and not everybody may see them.
    """

    def __init__(self, results: RunResults, data: TestedData, *, pictures: bool) -> None:
        self.results = results
        self.data = data
        self._named = RowNames(row.axes for row in results.rows)
        self._with_pictures = pictures
        self._left_out: list[str] = [f"frames and timelines of {note}" for note in data.notes]

    @cached_property
    def sections(self) -> list[tuple[str, list[Figure]]]:
        """Headings with their figures."""
        with unchecked():
            found = list(figures(self.results))
        try:
            with unchecked():
                timelines = list(timeline_figures(self.results, self.data))
        except FusionKitError as error:
            timelines = []
            self._left_out.append(f"timelines: {error}")
        return [*found, ("Clips over time", timelines)] if timelines else found

    @cached_property
    def pictures(self) -> list[Picture]:
        """Of each data set that could be opened."""
        if not self._with_pictures:
            self._left_out.append("pictures of frames: not asked for")
            return []
        grid = self.results.grid
        found = []
        for dataset in self.data.folds:
            try:
                found.append(picture(grid, self.data, dataset))
            except FusionKitError as error:
                self._left_out.append(f"pictures of {dataset}: {error}")
        return [each for each in found if each]

    def html(self) -> str:
        """The page; all that comes from data or components is escaped."""
        import jinja2
        from markupsafe import Markup

        environment = jinja2.Environment(
            autoescape=True,
            loader=jinja2.FunctionLoader(_asset),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["drawn"] = _drawn
        script = _asset("marks.js") + _asset("table.js")
        found = answers.answer(self.results)
        sections, pictures = self.sections, self.pictures
        values: dict[str, Any] = {
            "answer": found,
            "answer_rule": answers.RULE,
            "standing_rule": standing.RULE,
            "table": page_table(self.results, standing.row_significance(self.results)),
            "caption": caption(self.results),
            "warnings": warnings(self.results),
            "sections": sections,
            "ranks": ranks(self.results),
            "name_of": self._named,
            "pictures": pictures,
            "left_out": self._left_out,
            "coverage": self._coverage(),
            "failures": self._failures()[:_ERRORS_SHOWN],
            "states": self._states(),
            "origins": origins(self.results.grid),
            "data": self.results.grid["data"],
            "version": __version__,
            "style": Markup(_asset("page.css")),  # noqa: S704
            "script": Markup(script),  # noqa: S704
            "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        }
        return environment.get_template("page.html.j2").render(values)

    def _states(self) -> dict[str, int]:
        states = [cell["state"] for cell in self.results.cells()]
        return {state: states.count(state) for state in ("done", "failed", "planned") if state in states}

    def _failures(self) -> list[Failure]:
        cells: dict[str, list[str]] = {}
        for cell in self.results.cells():
            if cell["state"] == "failed":
                name = f"{Axes(**cell['axes']).name}/{cell['seed']} {cell['fold']} ({cell['id'][:7]})"
                cells.setdefault(cell["error"], []).append(name)
        return [Failure(message, names) for message, names in cells.items()]

    def _coverage(self) -> list[tuple[str, str, str, str]]:
        """By set of views: frames, those with every view, those without any that were imputed."""
        found: dict[tuple[str, ...], tuple[str, str, str, str]] = {}
        several = varying(row.axes for row in self.results.rows)
        shown = [axis for axis in ("dataset", "extractor") if axis in several] + ["views"]
        for row in self.results.rows:
            if row.means:
                share = f"{row.means['covered']:,.0f} ({100 * row.means['coverage']:.1f} %)"
                key = (row.axes.dataset, row.axes.extractor, row.axes.views)
                name = " / ".join(self._named.part(row.axes, axis) for axis in shown)
                found.setdefault(key, (name, f"{row.means['n_frames']:,.0f}", share, f"{row.means['imputed']:,.0f}"))
        return list(found.values())


def write_report(
    results: RunResults, data: TestedData | None = None, path: Path | None = None, *, pictures: bool = True
) -> Path:
    """Write the report of a folder.

    Args:
        results: of the folder.
        data: that it was tested on, where it could be opened: without it there are no timelines and no pictures.
        path: of the file; ``report.html`` in the folder where None.
        pictures: show frames.

    Raises:
        StorageError: if it cannot be written.
    """
    place = path or results.folder.path / NAME
    page = Page(results, data or TestedData(notes=("the data, which were not opened",)), pictures=pictures)
    write_file(place, page.html().encode())
    return place


def _asset(name: str) -> str:
    return (files("fusionkit.report.page") / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Drawn:
    """The SVG of a figure as a part of the page, and its width in px."""

    svg: Markup
    width: int


def _drawn(figure: Figure) -> Drawn:
    """Name and description are those of the figure around it."""
    from markupsafe import Markup

    svg = figure.svg()
    width = round(float(svg.partition('width="')[2].partition('"')[0]))
    svg = svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    return Drawn(Markup(svg), width)  # noqa: S704  (drawn here, from escaped text)


def report_or_line(results: RunResults, data: TestedData | None) -> list[str]:
    """Write the page of a folder; a line for the user where that fails.

    Args:
        results: of the folder.
        data: that it was tested on, where it is open.
    """
    try:
        # draws, with libraries that only a report needs

        write_report(results, data)
    except Exception as error:  # noqa: BLE001  (a figure that cannot be drawn is no reason to lose a run)
        return [f"report.html was not written: {cause_of(error)}; fusionkit report --debug says more"]
    return []
