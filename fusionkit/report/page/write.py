"""Write ``report.html``, and the table that notebooks show."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter, warn

from fusionkit._version import __version__
from fusionkit.errors import FusionKitError, FusionKitWarning, cause_of, first_of, printable
from fusionkit.grid.axes import Axes
from fusionkit.grid.output import bounded_output
from fusionkit.grid.results import RunResults
from fusionkit.report import answer, significance
from fusionkit.report.ablation import ATTRIBUTION
from fusionkit.report.charts.drawing import draw_figures
from fusionkit.report.charts.figure import Figure, unchecked
from fusionkit.report.charts.gallery import figures
from fusionkit.report.charts.timelines import timeline_figures
from fusionkit.report.numbers import capital, percent
from fusionkit.report.page.pictures import Picture, picture
from fusionkit.report.page.provenance import origins
from fusionkit.report.page.table import page_table
from fusionkit.report.ranks import ranks
from fusionkit.report.robustness import ROBUSTNESS
from fusionkit.report.row_names import RowNames, varying
from fusionkit.report.run_data import RunData
from fusionkit.report.table import caption, warnings
from fusionkit.report.wrapping import breakable
from fusionkit.storage.artifact import write_file
from fusionkit.storage.identity import digest

if TYPE_CHECKING:
    import jinja2

_SHOWN_FAILURES = 50
_PRINTED_ROWS = 60  # as in page.css
_NOTEBOOK_ROWS = 50
_UNOPENED = RunData(notes=("the data sets, which were not opened",))
_SHOWN_TABLES = (ATTRIBUTION, "costs.csv", ROBUSTNESS)
_UNUSED = re.compile(
    r' (?:role="graphics-[a-z]+"|aria-roledescription="[^"]*"|aria-hidden="true"|pointer-events="none"|opacity="1")'
    r'|<path class="(?:back|fore)ground" [^>]*/>'
)
_POSITIONS = re.compile(r' (?:d|transform|[xy]2?)="[^"]*"')
_DECIMALS = re.compile(r"(\.\d\d)\d+")  # of a px
_LOST = "whose drawing process ended (a memory limit such as ulimit -v ends it)"
_HEAD = 2_000  # bytes of a page that hold its head


def write_report(
    results: RunResults,
    data: RunData | None = None,
    path: Path | None = None,
    *,
    pictures: bool = True,
    content: str | None = None,
) -> Path:
    """Write the report of a run folder and return its path.

    Args:
        results: results of the run folder.
        data: opened data sets; without them the page has no timelines and no pictures.
        path: output file. Default: ``report.html`` in the run folder.
        pictures: include frames of the data sets.
        content: hash of what the page shows, if it is known.

    Raises:
        StorageError: if the file cannot be written.
    """
    file = path or results.folder.path / "report.html"
    data = data or _UNOPENED
    content = content or _content(results, data, with_pictures=pictures)
    write_file(file, _page(results, data, content, with_pictures=pictures).encode())
    return file


def report_or_line(results: RunResults, data: RunData | None) -> list[str]:
    """Write the report of a run folder unless it shows these results already; return messages on what is missing.

    Args:
        results: results of the run folder.
        data: opened data sets.
    """
    file, data = results.folder.path / "report.html", data or _UNOPENED
    try:
        content = _content(results, data, with_pictures=True)
        if _content_of(file) == content:
            return []
        # Timelines call data sets and smoothers.
        with bounded_output(), catch_warnings(record=True) as lost:
            simplefilter("always", FusionKitWarning)
            write_report(results, data, content=content)
    except Exception as error:  # noqa: BLE001  (a run must not be lost because a figure cannot be drawn)
        return [f"report.html was not written: {cause_of(error)}; see fusionkit report --debug"]
    return [str(each.message) for each in lost if issubclass(each.category, FusionKitWarning)]


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


def _content(results: RunResults, data: RunData, *, with_pictures: bool) -> str:
    """Return a hash of what a page shows; stored in its head."""
    cells = [(cell["id"], cell["state"], cell["error"]) for cell in results.cells()]
    files = [results.folder.path / name for name in _SHOWN_TABLES]
    tables = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.exists()]
    shown = [
        __version__,
        results.grid,
        results.test,
        cells,
        tables,
        sorted(data.folds),
        list(data.notes),
        with_pictures,
    ]
    return digest(shown)


def _content_of(page: Path) -> str:
    """Return the hash in the head of a page; empty if there is none or the page is not whole."""
    try:
        text = page.read_bytes()
    except OSError:
        return ""
    found = re.search(rb'<meta name="content-hash" content="(\w+)">', text[:_HEAD])
    return found[1].decode() if found and text.rstrip().endswith(b"</html>") else ""


def _metrics(results: RunResults) -> list[str]:
    """Return what the metric of each task is, a sentence each."""
    tasks = {row.task.metric_name: (row.task, row.axes.scored) for row in results.rows}.values()
    return [
        f"{capital(task.metric_name)}: mean over {task.parts} of the {task.score} of all test {scored}, "
        f"from {task.least:g} to 1."
        for task, scored in tasks
    ]


def _page(results: RunResults, data: RunData, content: str, *, with_pictures: bool) -> str:
    """Return the page; all texts from data and components are escaped."""
    from markupsafe import Markup

    script = _asset("marks.js") + _asset("table.js")
    left_out = [f"frames and timelines of {note}" for note in data.notes]
    names = RowNames(results.rows)
    cells = results.cells()
    values: dict[str, Any] = {
        "answer": answer.answer(results),
        "answer_rule": answer.rule(results),
        "significance_rule": significance.rule(results),
        "table": page_table(results, significance.row_significance(results)),
        "printed_rows": _PRINTED_ROWS,
        "caption": caption(results),
        "metric": results.metric,
        "metrics": _metrics(results),
        "warnings": warnings(results),
        "sections": (sections := _sections(results, data, left_out)),
        "drawings": _drawings([figure for _, figures in sections for figure in figures], left_out),
        "ranks": [(part.metric, found) for part in results.by_task().values() if (found := ranks(part))],
        "name_of": names,
        "pictures": _pictures(results, data, left_out) if with_pictures else [],
        "left_out": left_out + ([] if with_pictures else ["pictures of frames: switched off"]),
        "coverage": _coverage(results, names),
        "scored": next((row.axes.scored for row in results.rows), ""),
        "failures": _failures(cells)[:_SHOWN_FAILURES],
        "states": {state: n for state in ("done", "failed", "planned") if (n := _count(cells, state))},
        "origins": origins(results.grid),
        "data": results.grid["data"],
        "version": __version__,
        "content": content,
        "style": Markup(_asset("page.css")),  # noqa: S704
        "script": Markup(script),  # noqa: S704
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    return _environment().get_template("page.html.j2").render(values)


def _sections(results: RunResults, data: RunData, left_out: list[str]) -> list[tuple[str, list[Figure]]]:
    """Return headings with their figures; append what cannot be drawn to ``left_out``."""
    with unchecked():
        sections = list(figures(results))
        try:
            timelines = list(timeline_figures(results, data))
        except FusionKitError as error:
            timelines = []
            left_out.append(f"timelines: {error}")
    return [*sections, ("Clips over time", timelines)] if timelines else sections


def _drawings(figures: list[Figure], left_out: list[str]) -> dict[str, dict[str, Any]]:
    """Return the drawings by name of their figure; append how many cannot be drawn to ``left_out``."""
    svgs = {figure.name: svg for figure, svg in zip(figures, draw_figures(figures), strict=True)}
    if missing := [name for name, svg in svgs.items() if svg is None]:
        left_out.append(f"{len(missing)} of {len(svgs)} charts, {_LOST}: {first_of(missing)}")
        warn(f"not on the page: {left_out[-1]}", FusionKitWarning, stacklevel=2)
    return {name: _drawing(svg) for name, svg in svgs.items() if svg is not None}


def _pictures(results: RunResults, data: RunData, left_out: list[str]) -> list[Picture]:
    """Return contact sheets of the opened data sets; append what cannot be drawn to ``left_out``."""
    found = []
    for dataset in data.folds:
        try:
            found.append(picture(results.grid, data, dataset))
        except FusionKitError as error:
            left_out.append(f"pictures of {dataset}: {error}")
    return [each for each in found if each]


def _count(cells: list[dict[str, Any]], state: str) -> int:
    return sum(cell["state"] == state for cell in cells)


def _failures(cells: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return error messages with the cells that failed with them."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        if cell["state"] == "failed":
            name = f"{Axes(**cell['axes']).name}/{cell['seed']} {cell['fold']} ({cell['id'][:7]})"
            found.setdefault(cell["error"], []).append(name)
    return list(found.items())


def _coverage(results: RunResults, names: RowNames) -> list[tuple[str, str, str, str]]:
    """Return by set of views: its name, what is scored, how many have every view, how many without any are imputed."""
    found: dict[tuple[str, ...], tuple[str, str, str, str]] = {}
    shown = [*varying((row.axes for row in results.rows), ("dataset", "extractor")), "views"]
    for row in results.rows:
        if row.means:
            covered = f"{row.means['n_complete']:,.0f} ({percent(row.means['coverage'])})"
            key = (row.axes.dataset, row.axes.extractor, row.axes.views)
            name = " / ".join(names.part(row.axes, axis) for axis in shown)
            found.setdefault(key, (name, f"{row.means['n_frames']:,.0f}", covered, f"{row.means['imputed']:,.0f}"))
    return list(found.values())


def _drawing(svg: str) -> dict[str, Any]:
    """Return an SVG as markup, without what the page does not use, and its width in px."""
    from markupsafe import Markup

    width = round(float(svg.partition('width="')[2].partition('"')[0]))
    # The figure around it has the name and the description.
    svg = _UNUSED.sub("", svg).replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
    svg = _POSITIONS.sub(lambda found: _DECIMALS.sub(r"\1", found[0]), svg)
    return {"svg": Markup(svg), "width": width}  # noqa: S704  (made here, from escaped text)


def _switched(figures: list[Figure]) -> list[list[Figure]]:
    """Return the figures in groups: those of one switch together, any other alone."""
    groups: list[list[Figure]] = []
    for figure in figures:
        if figure.switch and groups and groups[-1][0].switch:
            groups[-1].append(figure)
        else:
            groups.append([figure])
    return groups


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(_asset),
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(switched=_switched, breakable=breakable)
    return environment


def _shown(value: Any) -> Any:
    """Return a value as the page shows it: text of data and components without control characters."""
    return printable(value, keep="\n") if type(value) is str else value  # markup is made here


def _asset(name: str) -> str:
    return (files("fusionkit.report.page") / name).read_text(encoding="utf-8")
