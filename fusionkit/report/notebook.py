"""The answer and the rows of a folder for a notebook, in the colours of the notebook's own theme."""

from __future__ import annotations

from fusionkit.grid.results import RunResults
from fusionkit.report.answer import answer
from fusionkit.report.page.table import page_table
from fusionkit.report.significance import row_significance
from fusionkit.report.table import caption, warnings

_ROWS = 50
_TEMPLATE = """<style>
.fusionkit-results { max-height: 36em; overflow: auto; width: fit-content; max-width: 100%; }
.fusionkit-results table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.fusionkit-results :is(th, td) { padding: .2em .5em; text-align: left; white-space: nowrap; vertical-align: top; }
.fusionkit-results :is(th, td).number { text-align: right; }
.fusionkit-results .best td { background: rgb(230 159 0 / 25%); font-weight: bold; }
.fusionkit-results .level td { background: rgb(86 180 233 / 15%); }
.fusionkit-results .bar { display: block; position: relative; height: 6px; min-width: 7em; }
.fusionkit-results .bar i { position: absolute; top: 2px; height: 2px; background: currentColor; opacity: .6; }
.fusionkit-results .bar i + i { top: 0; height: 6px; width: 6px; margin-left: -3px; border-radius: 3px; opacity: 1; }
</style>
<p><strong>{{ answer.headline }}.</strong></p>
{% for line in warnings %}
<p>{{ line }}</p>
{% endfor %}
<div class="fusionkit-results"><table>
<thead><tr>
{% for column in table.columns %}
<th scope="col"{% if column.is_number %} class="number"{% endif %}>{{ column.name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for line in table.lines[:rows] %}
<tr class="{{ line.standing }}">
{% for entry in line.entries %}
<td{% if table.columns[loop.index0].is_number %} class="number"{% endif %}>{{ entry.text }}{% if entry.bar %}<span class="bar"><i style="left:{{ entry.bar.left }}%;width:{{ entry.bar.width }}%"></i><i style="left:{{ entry.bar.point }}%"></i></span>{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table></div>
<p><small>{{ caption|join("; ") }}.{% if table.lines|length > rows %} The best {{ rows }} of {{ table.lines|length }} rows.{% endif %} <code>results.report()</code> draws the figures.</small></p>"""  # noqa: E501


def notebook_table(results: RunResults) -> str:
    """The rows as HTML; what comes from data or components is escaped."""
    import jinja2

    template = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(_TEMPLATE)
    return template.render(
        answer=answer(results),
        warnings=warnings(results),
        caption=caption(results),
        table=page_table(results, row_significance(results)),
        rows=_ROWS,
    )
