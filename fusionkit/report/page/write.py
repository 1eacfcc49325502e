"""Write ``report.html``, and the table that notebooks show."""

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
from fusionkit.report import answer, significance
from fusionkit.report.charts.figure import Figure, unchecked
from fusionkit.report.charts.gallery import figures
from fusionkit.report.charts.timelines import timeline_figures
from fusionkit.report.page.pictures import Picture, picture
from fusionkit.report.page.provenance import origins
from fusionkit.report.page.table import page_table
from fusionkit.report.ranks import ranks
from fusionkit.report.row_names import RowNames, varying
from fusionkit.report.run_data import RunData
from fusionkit.report.table import caption, warnings
from fusionkit.storage.artifact import write_file

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

NAME = "report.html"
_SHOWN_FAILURES = 50
_NOTEBOOK_ROWS = 50


def write_report(
    results: RunResults, data: RunData | None = None, path: Path | None = None, *, pictures: bool = True
) -> Path:
    """Write the report of a run folder and return its path.

    Args:
        results: results of the run folder.
        data: opened data sets; without them the page has no timelines and no pictures.
        path: output file. Default: ``report.html`` in the run folder.
        pictures: include frames of the data sets.

    Raises:
        StorageError: if the file cannot be written.
    """
    file = path or results.folder.path / NAME
    data = data or RunData(notes=("the data sets, which were not opened",))
    write_file(file, Page(results, data, pictures=pictures).html().encode())
    return file


def report_or_line(results: RunResults, data: RunData | None) -> list[str]:
    """Write the report of a run folder; return a message if that fails.

    Args:
        results: results of the run folder.
        data: opened data sets.
    """
    try:
        write_report(results, data)
    except Exception as error:  # noqa: BLE001  (a run must not be lost because a figure cannot be drawn)
        return [f"report.html was not written: {cause_of(error)}; see fusionkit report --debug"]
    return []


def notebook_html(results: RunResults) -> str:
    """Return the answer and the best rows as HTML, in the colours of the notebook's theme; all texts are escaped."""
    return (
        _environment()
        .get_template("notebook.html.j2")
        .render(
            answer=answer.answer(results),
            warnings=warnings(results),
            caption=caption(results),
            table=page_table(results, significance.row_significance(results)),
            shown=_NOTEBOOK_ROWS,
        )
    )


@dataclass(frozen=True, eq=False)
class Failure:
    """An error message, and the cells that failed with it."""

    message: str
    cells: list[str]


class Page:
    """Report of a run folder.

    Args:
        results: results of the run folder.
        data: opened data sets, for timelines and pictures.
        pictures: include frames, which show identifiable persons in most data sets.
    """

    def __init__(self, results: RunResults, data: RunData, *, pictures: bool) -> None:
        self.results = results
        self.data = data
        self._names = RowNames(row.axes for row in results.rows)
        self._with_pictures = pictures
        self._left_out: list[str] = [f"frames and timelines of {note}" for note in data.notes]

    @cached_property
    def sections(self) -> list[tuple[str, list[Figure]]]:
        """Headings with their figures."""
        with unchecked():
            found = list(figures(self.results))
            try:
                timelines = list(timeline_figures(self.results, self.data))
            except FusionKitError as error:
                timelines = []
                self._left_out.append(f"timelines: {error}")
        return [*found, ("Clips over time", timelines)] if timelines else found

    @cached_property
    def pictures(self) -> list[Picture]:
        """Contact sheets of the opened data sets."""
        if not self._with_pictures:
            self._left_out.append("pictures of frames: switched off by --no-pictures")
            return []
        found = []
        for dataset in self.data.folds:
            try:
                found.append(picture(self.results.grid, self.data, dataset))
            except FusionKitError as error:
                self._left_out.append(f"pictures of {dataset}: {error}")
        return [each for each in found if each]

    def html(self) -> str:
        """Return the page; all texts from data and components are escaped."""
        from markupsafe import Markup

        script = _asset("marks.js") + _asset("table.js")
        sections, pictures = self.sections, self.pictures  # these complete the list of what is left out
        values: dict[str, Any] = {
            "answer": answer.answer(self.results),
            "answer_rule": answer.RULE,
            "significance_rule": significance.RULE,
            "table": page_table(self.results, significance.row_significance(self.results)),
            "caption": caption(self.results),
            "warnings": warnings(self.results),
            "sections": sections,
            "ranks": ranks(self.results),
            "name_of": self._names,
            "pictures": pictures,
            "left_out": self._left_out,
            "coverage": self._coverage(),
            "failures": self._failures()[:_SHOWN_FAILURES],
            "states": self._states(),
            "origins": origins(self.results.grid),
            "data": self.results.grid["data"],
            "version": __version__,
            "style": Markup(_asset("page.css")),  # noqa: S704
            "script": Markup(script),  # noqa: S704
            "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        }
        return _environment().get_template("page.html.j2").render(values)

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
        """Return by set of views: its name, frames, frames with every view, imputed frames without any view."""
        found: dict[tuple[str, ...], tuple[str, str, str, str]] = {}
        shown = [*varying((row.axes for row in self.results.rows), ("dataset", "extractor")), "views"]
        for row in self.results.rows:
            if row.means:
                covered = f"{row.means['covered']:,.0f} ({100 * row.means['coverage']:.1f} %)"
                key = (row.axes.dataset, row.axes.extractor, row.axes.views)
                name = " / ".join(self._names.part(row.axes, axis) for axis in shown)
                found.setdefault(key, (name, f"{row.means['n_frames']:,.0f}", covered, f"{row.means['imputed']:,.0f}"))
        return list(found.values())


@dataclass(frozen=True)
class Drawing:
    """The SVG of a figure as markup, and its width in px."""

    svg: Markup
    width: int


def _drawing(figure: Figure) -> Drawing:
    from markupsafe import Markup

    svg = figure.svg()
    width = round(float(svg.partition('width="')[2].partition('"')[0]))
    # The figure around it has the name and the description.
    svg = svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    return Drawing(Markup(svg), width)  # noqa: S704  (made here, from escaped text)


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(_asset),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawing"] = _drawing
    return environment


def _asset(name: str) -> str:
    return (files("fusionkit.report.page") / name).read_text(encoding="utf-8")
