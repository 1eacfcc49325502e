"""The page at the end of a run: what keeps it from being written must not take the results along."""

from __future__ import annotations

from fusionkit.errors import cause_of
from fusionkit.report.results import Results
from fusionkit.report.tested_data import TestedData


def report_or_line(results: Results, data: TestedData | None) -> list[str]:
    """Write the page of a folder; a line for the user where that fails.

    Args:
        results: of the folder.
        data: that it was tested on, where it is open.
    """
    try:
        from fusionkit.report.page.write import write_report  # draws, with libraries that only a report needs

        write_report(results, data)
    except Exception as error:  # noqa: BLE001  (a figure that cannot be drawn is no reason to lose a run)
        return [f"report.html was not written: {cause_of(error)}; fusionkit report --debug says more"]
    return []
