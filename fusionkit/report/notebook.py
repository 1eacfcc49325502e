"""The table of a folder for a notebook: plain HTML, nothing but the rows."""

from __future__ import annotations

from fusionkit.report.page.table import page_table
from fusionkit.report.results import Results
from fusionkit.report.standing import standings
from fusionkit.report.table import caption

_TABLE = """<table>
<caption>{{ caption|join("; ") }}</caption>
<thead><tr>{% for column in table.columns %}<th scope="col">{{ column.name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for line in table.lines %}
<tr{% if line.standing == "best" %} style="font-weight: bold"{% endif %}>
{% for entry in line.entries %}<td>{{ entry.text }}</td>{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>"""


def notebook_table(results: Results) -> str:
    """The rows as an HTML table; what comes from data or components is escaped."""
    import jinja2

    template = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(_TABLE)
    return template.render(caption=caption(results), table=page_table(results, standings(results)))
